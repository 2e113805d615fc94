//! Training launches of every form: what is read, what is asked for, what is refused.

use std::fmt::Write as _;
use supernode_launch::{Inputs, TrainingLaunch, Weight, read_training};

fn inputs(given: &[(&str, &str)]) -> Inputs<'static> {
    let mut inputs = Inputs::default();
    for (name, value) in given {
        match name.parse() {
            Ok(number) => inputs.args.insert(number, (*value).to_owned()),
            Err(_) => inputs.env.insert((*name).to_owned(), (*value).to_owned()),
        };
    }
    inputs
}

/// A launch in a line: ranks, sizes, model, what it lacks.
fn line(launch: &TrainingLaunch) -> String {
    let spec = &launch.spec;
    let mut out = String::new();
    let mut say = |name: &str, value: Option<u32>| {
        if let Some(value) = value {
            let _ = write!(out, "{name} {value} ");
        }
    };
    say("ranks", spec.chips);
    say("tp", spec.tp);
    say("pp", spec.pp.filter(|pp| *pp > 1));
    say("vpp", spec.vpp);
    say("cp", spec.cp);
    say("ep", spec.ep);
    say("micro", spec.micro_batch);
    say("global", spec.global_batch);
    say("seq", spec.seq);
    say("zero", spec.zero);
    let recompute = spec.recompute.as_deref().unwrap_or("?");
    let _ = write!(out, "{} {recompute} ", spec.precision.as_deref().unwrap_or("?"));
    if let Some(shape) = &launch.shape {
        let gated = if shape.gated { " gated" } else { "" };
        let _ = write!(
            out,
            "| {}x{} heads {}/{} ffn {} vocab {}{gated}",
            shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.ffn, shape.vocab
        );
        if let Some(moe) = &shape.experts {
            let _ = write!(
                out,
                " experts {}/{} x{} dense {}",
                moe.topk, moe.experts, moe.intermediate, moe.first_dense
            );
        }
    }
    if let Some(model) = &spec.model {
        let _ = write!(out, "| {model}");
    }
    let missing: Vec<&str> = launch.missing().map(|flag| flag.flag.as_str()).collect();
    if !missing.is_empty() {
        let _ = write!(out, " | without {}", missing.join(" "));
    }
    out.trim_end().to_owned()
}

#[track_caller]
fn check(file: &str, text: &str, given: &[(&str, &str)], expected: &str) {
    let found = match read_training(file, text, &inputs(given), false) {
        Ok(launch) => line(&launch),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected, "{text}");
}

/// The flags of a small model, so that a case shows only what it is about.
const MODEL: &str =
    "--num-layers 24 --hidden-size 2048 --num-attention-heads 16 --vocab-size 50304 --seq-length 2048";
const READ: &str = "24x2048 heads 16/16 ffn 8192 vocab 50304";

#[track_caller]
fn check_flags(flags: &str, expected: &str) {
    let text = format!(
        "torchrun --nproc_per_node 8 p.py {MODEL} --micro-batch-size 1 --global-batch-size 64 --bf16 {flags}"
    );
    check("t.sh", &text, &[], &expected.replace("READ", READ));
}

#[test]
fn launchers_say_the_ranks() {
    let with =
        |launcher: &str| format!("{launcher} p.py {MODEL} --micro-batch-size 1 --global-batch-size 64");
    for (launcher, ranks) in [
        ("torchrun --nnodes 4 --nproc-per-node=8", "ranks 32 "),
        ("deepspeed --num_nodes 2 --num_gpus 8", "ranks 16 "),
        ("srun -N 3 --ntasks-per-node=8 python -u", "ranks 24 "),
        ("mpirun -np 12 python", ""),
        ("python -m torch.distributed.launch --nproc_per_node 4", "ranks 4 "),
        ("torchrun --nnodes 1:4 --nproc_per_node 8", "ranks 32 "),
        ("python", ""),
    ] {
        let expected = format!("{ranks}micro 1 global 64 seq 2048 zero 0 fp32 none | {READ}");
        check("t.sh", &with(launcher), &[], &expected);
    }
}

#[test]
fn what_the_user_knows_is_asked_for() {
    let script = format!(
        "case $1 in\n 1B) L=24;;\n 2B) L=48;;\nesac\ntorchrun --nproc_per_node 8 --nnodes $NNODES p.py {} --num-layers $L \
         --micro-batch-size 1 --global-batch-size 64",
        MODEL.replace("--num-layers 24", "")
    );
    let asked = "t.sh:1: which branch of `case $1` is taken changes the answer (the script knows 1B, 2B); give --arg 1=VALUE";
    check("t.sh", &script, &[("NNODES", "2")], asked);
    let asked =
        "t.sh:5: --nnodes depends on `NNODES`, which the script does not set; give --env NNODES=VALUE";
    check("t.sh", &script, &[("1", "2B")], asked);
    let read =
        "ranks 16 micro 1 global 64 seq 2048 zero 0 fp32 none | 48x2048 heads 16/16 ffn 8192 vocab 50304";
    check("t.sh", &script, &[("1", "2B"), ("NNODES", "2")], read);
}

#[test]
fn branches_without_weight_are_not_asked_for() {
    let script = format!(
        "if [ -d $CKPT ]; then A=\"--load $CKPT\"; else A=\"--seed 3\"; fi\ntorchrun --nproc_per_node 8 p.py {MODEL} $A \
         --micro-batch-size 1 --global-batch-size 64"
    );
    check("t.sh", &script, &[], &format!("ranks 8 micro 1 global 64 seq 2048 zero 0 fp32 none | {READ}"));
    let asked = "t.sh:1: which branch of `[ -d $CKPT ]` is taken changes the answer; only the machine knows `[ -d CKPT ]`: \
                 set what it decides in the script";
    check("t.sh", &script.replace("--seed 3", "--tensor-model-parallel-size 2"), &[], asked);
}

#[test]
fn flags_with_a_weight_are_read_or_marked() {
    let plain = "ranks 8 micro 1 global 64 seq 2048 zero 0 bf16 none | READ";
    let experts = "ranks 8 micro 1 global 64 seq 2048 zero 0 bf16 none | READ experts 2/8 x8192 dense";
    let unread =
        "and is not read; describe the model with --model or --shape, which replaces the launch's own";
    check_flags("--lr 1e-4 --overlap-grad-reduce", plain);
    check_flags(
        "--swap-attention --frobnicate 3",
        &format!("{plain} | without --swap-attention --frobnicate"),
    );
    check_flags(
        "--hybrid-override-pattern 'M-M*'",
        &format!("t.sh:1: --hybrid-override-pattern changes the model (Mamba layers) {unread}"),
    );
    check_flags("--num-experts 8 --moe-router-topk 2 --first-k-dense-replace -1", &format!("{experts} 0"));
    check_flags("--num-experts 8 --moe-layer-freq '([0]*2+[1]*22)'", &format!("{experts} 2"));
    check_flags(
        "--num-experts 8 --moe-layer-freq 2",
        &format!("t.sh:1: --moe-layer-freq changes the model (only some layers have experts) {unread}"),
    );
    check_flags(
        "--recompute-num-layers 6 --enable-recompute-layers-per-pp-rank",
        &plain.replace("none", "6"),
    );
    check_flags("--spec mindspeed_llm.tasks.models.spec.qwen2_spec layer_spec", plain);
    check_flags(
        "--tensor-model-parallel-size x",
        "t.sh:1: --tensor-model-parallel-size: `x` is not a whole number",
    );
    check_flags(
        "--num-query-groups 4000000000 --group-query-attention",
        "t.sh:1: --num-query-groups: 4000000000 is not from 1 to 16",
    );
}

#[test]
fn deepspeed_reads_its_configuration() {
    let script = format!(
        "cat <<EOT > ds.json\n{{\"train_micro_batch_size_per_gpu\": 2, \"gradient_accumulation_steps\": 4, \"bf16\": {{\"enabled\": \
         true}},\n\"zero_optimization\": {{\"stage\": 3, \"offload_optimizer\": {{\"device\": \"cpu\"}}}}}}\nEOT\ndeepspeed --num_nodes 2 \
         --num_gpus 8 p.py {MODEL} --deepspeed --deepspeed_config ds.json --checkpoint-activations"
    );
    check("t.sh", &script, &[], &format!("ranks 16 micro 2 global 128 seq 2048 zero 3 bf16 full | {READ}"));
}

#[test]
fn places_are_those_of_the_flags() {
    let script = "A=\"\n  --num-layers 24\n  --swap-attention\n\"\npython p.py --hidden-size 64 --num-attention-heads 4 \
                  --micro-batch-size 1 $A";
    let launch = read_training("t.sh", script, &Inputs::default(), false).expect("reads");
    let place = |flag: &str| {
        launch.sources.iter().find(|source| source.flag == flag).map(|source| source.place.to_string())
    };
    assert_eq!(place("--num-layers").as_deref(), Some("t.sh:2"));
    assert_eq!(launch.of_weight(Weight::Memory), ["--swap-attention"]);
    let expected =
        "without --swap-attention (t.sh:3), which saves memory: activations of attention go to the host";
    assert_eq!(launch.missing().next().map(ToString::to_string).as_deref(), Some(expected));
}

#[test]
fn configurations() {
    check(
        "n.yaml",
        "trainer: {devices: 8, num_nodes: 4, precision: bf16}\nmodel:\n  micro_batch_size: 1\n  global_batch_size: 128\n  \
         tensor_model_parallel_size: 4\n  pipeline_model_parallel_size: 2\n  encoder_seq_length: 4096\n  num_layers: 32\n  \
         hidden_size: 4096\n  num_attention_heads: 32\n  activation: fast-swiglu\n  ffn_hidden_size: 11008\n  override_vocab_size: \
         32000\n  optim: {name: distributed_fused_adam}\n  max_position_embeddings: ${.encoder_seq_length}\n",
        &[],
        "ranks 32 tp 4 pp 2 micro 1 global 128 seq 4096 zero 1 bf16 none | 32x4096 heads 32/32 ffn 11008 vocab 32000 gated",
    );
    check(
        "t.toml",
        "[model]\nname = \"llama3\"\nflavor = \"70B\"\n[training]\nlocal_batch_size = 2\nseq_len = 8192\n[parallelism]\n\
         data_parallel_shard_degree = 32\ntensor_parallel_degree = 8\n[activation_checkpoint]\nmode = \"full\"\n",
        &[],
        "ranks 256 tp 8 micro 2 global 64 seq 8192 zero 3 bf16 full | meta-llama/Llama-3.1-70B",
    );
    check(
        "m.yml",
        "model_name: llama3.1-8b\nper_device_batch_size: 4\nici_fsdp_parallelism: 16\nmax_target_length: 8192\nremat_policy: minimal\n",
        &[],
        "ranks 16 tp 1 cp 1 micro 4 global 64 seq 8192 zero 3 bf16 none | meta-llama/Llama-3.1-8B",
    );
    check(
        "a.yaml",
        "distributed_type: FSDP\nnum_machines: 2\nnum_processes: 16\nmixed_precision: bf16\nfsdp_config:\n  \
         fsdp_sharding_strategy: SHARD_GRAD_OP\n  fsdp_offload_params: true\n",
        &[],
        "ranks 16 zero 2 bf16 none  | without fsdp_config.fsdp_offload_params",
    );
}

#[test]
fn configurations_refused() {
    check(
        "t.toml",
        "[model]\nname = \"llama3\"\nflavor = \"debugmodel\"\n[parallelism]\ntensor_parallel_degree = 1\n",
        &[],
        "t.toml:3: model.flavor: llama3 debugmodel is not a model that is built in under this name; give --model or --shape",
    );
    check(
        "t.toml",
        "[parallelism\n",
        &[],
        "t.toml:1: cannot be read: this is no TOML: unclosed table, expected `]`",
    );
    check(
        "x.yaml",
        "a: 1\n",
        &[],
        "x.yaml: is no configuration of torchtitan, NeMo, MaxText, Accelerate, MindSpeed-LLM or LLaMA-Factory that is known",
    );
    check(
        "n.yaml",
        "trainer: {devices: 8}\nmodel:\n  num_layers: 4\n",
        &[],
        "n.yaml: --hidden-size: the launch does not set it, and the model's size depends on it",
    );
}

proptest::proptest! {
    #[test]
    fn no_configuration_breaks_the_reader(text in "(distributed_type: FSDP\n|model_name: a\n|trainer: 1\n)?[-a-z: \\[\\]&*!|>'\"\n0-9$._]{0,120}") {
        let _ = read_training("x.yaml", &text, &Inputs::default(), false);
        let _ = read_training("x.toml", &text, &Inputs::default(), false);
    }
}

/// Sizes that some programs take without a flag that turns the feature on.
#[test]
fn sizes_without_a_switch() {
    let read = |flags: &str| {
        let text = format!(
            "torchrun --nproc_per_node 8 p.py {MODEL} --micro-batch-size 1 --global-batch-size 64 {flags}"
        );
        let launch =
            read_training("t.sh", &text, &inputs(&[]), false).unwrap_or_else(|error| panic!("{error}"));
        launch.shape.expect("sizes")
    };
    let latent = read(
        "--kv-lora-rank 512 --q-lora-rank 1536 --qk-nope-head-dim 128 --qk-rope-head-dim 64 --v-head-dim 128",
    );
    assert_eq!(latent.latent.map(|sizes| (sizes.kv_lora_rank, sizes.q_lora_rank)), Some((512, Some(1536))));
    let moe = read(
        "--num-experts 64 --moe-router-topk 6 --moe-ffn-hidden-size 1408 --num-shared-experts 2 --enable-shared-expert",
    );
    assert_eq!(moe.experts.map(|sizes| sizes.shared_intermediate), Some(2816));
    assert_eq!(read("--use-multi-token-prediction --num-mtp-predictor 2").mtp, 2);
    assert_eq!(read("--use-multi-token-prediction").mtp, 1);
    let named = MODEL.replace(
        "--vocab-size 50304",
        "--tokenizer-type HuggingFaceTokenizer --tokenizer-model Qwen/Qwen3-8B",
    );
    let text =
        format!("torchrun --nproc_per_node 8 p.py {named} --micro-batch-size 1 --global-batch-size 64");
    let launch = read_training("t.sh", &text, &inputs(&[]), false).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(launch.shape.map(|shape| shape.vocab), Some(151_936));
    check_flags(
        "--num-experts 64 --enable-shared-expert",
        "t.sh:1: --enable-shared-expert changes the model (a shared expert of no stated width) and is not read; describe \
         the model with --model or --shape, which replaces the launch's own",
    );
}
