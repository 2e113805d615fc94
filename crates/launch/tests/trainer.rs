//! Commands and files of Hugging Face's Trainer, of Accelerate, and of MindSpeed-LLM's FSDP2 backend.

use std::collections::BTreeMap;
use supernode_launch::{Inputs, read_training};

/// A launch in a line, read with files beside it.
#[track_caller]
fn check(file: &str, text: &str, beside: &[(&str, &str)], expected: &str) {
    let files: BTreeMap<&str, &str> = beside.iter().copied().collect();
    let read = |name: &str| files.get(name).map(|text| (*text).to_owned());
    let inputs = Inputs { files: Some(&read), ..Inputs::default() };
    let found = match read_training(file, text, &inputs, false) {
        Ok(launch) => {
            let spec = &launch.spec;
            let number = |value: Option<u32>| value.map_or("?".to_owned(), |value| value.to_string());
            let missing: Vec<&str> = launch.missing().map(|flag| flag.flag.as_str()).collect();
            format!(
                "{} on {} ranks, micro {} global {} seq {} zero {} {} {}{}{}",
                spec.model.as_deref().unwrap_or("?"),
                number(spec.chips),
                number(spec.micro_batch),
                number(spec.global_batch),
                number(spec.seq),
                number(spec.zero),
                spec.precision.as_deref().unwrap_or("?"),
                spec.recompute.as_deref().unwrap_or("?"),
                if spec.offload_optimizer == Some(true) { " offloaded" } else { "" },
                if missing.is_empty() { String::new() } else { format!(" without {}", missing.join(" ")) },
            )
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected, "{text}");
}

const ARGUMENTS: &str = "train.py --model_name_or_path Qwen/Qwen3-8B --per_device_train_batch_size 2 \
                         --gradient_accumulation_steps 4 --max_seq_length 4096 --bf16 True";

#[test]
fn launchers_and_sharding() {
    let with = |before: &str, after: &str| format!("{before} {ARGUMENTS} {after}");
    check(
        "t.sh",
        &with(
            "torchrun --nnodes 2 --nproc_per_node 8",
            "--fsdp 'full_shard auto_wrap' --gradient_checkpointing True",
        ),
        &[],
        "Qwen/Qwen3-8B on 16 ranks, micro 2 global 128 seq 4096 zero 3 bf16 full",
    );
    check(
        "t.sh",
        &with("torchrun --nproc_per_node 8", ""),
        &[],
        "Qwen/Qwen3-8B on 8 ranks, micro 2 global 64 seq 4096 zero 0 bf16 none",
    );
    check(
        "t.sh",
        &with("deepspeed --num_gpus 8", "--deepspeed ds.json"),
        &[(
            "ds.json",
            r#"{"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}},
            "train_micro_batch_size_per_gpu": "auto"}"#,
        )],
        "Qwen/Qwen3-8B on 8 ranks, micro 2 global 64 seq 4096 zero 3 bf16 none offloaded",
    );
    check(
        "t.sh",
        &with("accelerate launch --config_file fsdp.yaml", ""),
        &[(
            "fsdp.yaml",
            "distributed_type: FSDP\nnum_processes: 32\nmixed_precision: bf16\nfsdp_config:\n  \
            fsdp_sharding_strategy: SHARD_GRAD_OP\n  fsdp_activation_checkpointing: true\n",
        )],
        "Qwen/Qwen3-8B on 32 ranks, micro 2 global 256 seq 4096 zero 2 bf16 full",
    );
    check(
        "t.sh",
        &with(
            "accelerate launch --use_deepspeed --zero_stage 1 --num_processes 4 --offload_param_device cpu",
            "",
        ),
        &[],
        "Qwen/Qwen3-8B on 4 ranks, micro 2 global 32 seq 4096 zero 1 bf16 none without --offload_param_device",
    );
    check(
        "t.sh",
        &with("accelerate launch --config_file gone.yaml", ""),
        &[],
        "t.sh:1: --config_file: gone.yaml is not found beside the script; put it there",
    );
}

#[test]
fn adapters_are_no_full_training() {
    check(
        "t.sh",
        &format!("torchrun --nproc_per_node 8 {ARGUMENTS} --use_peft --lora_r 16"),
        &[],
        "t.sh:1: --lora_r changes the model (an adapter) and is not read; describe the model with --model or --shape, \
         which replaces the launch's own",
    );
}

#[test]
fn files_of_arguments() {
    let file = |kind: &str| {
        format!(
            "model_name_or_path: Qwen/Qwen3-8B\nstage: sft\nfinetuning_type: {kind}\ndeepspeed: ds_z3.json\n\
             cutoff_len: 8192\nper_device_train_batch_size: 1\ngradient_accumulation_steps: 2\nbf16: true\n"
        )
    };
    let stage = ("ds_z3.json", r#"{"zero_optimization": {"stage": 3}}"#);
    check(
        "full.yaml",
        &file("full"),
        &[stage],
        "Qwen/Qwen3-8B on ? ranks, micro 1 global ? seq 8192 zero 3 bf16 none",
    );
    check(
        "t.sh",
        "FORCE_TORCHRUN=1 llamafactory-cli train full.yaml",
        &[stage, ("full.yaml", &file("full"))],
        "Qwen/Qwen3-8B on ? ranks, micro 1 global ? seq 8192 zero 3 bf16 none",
    );
    check(
        "t.yaml",
        &file("lora"),
        &[stage],
        "t.yaml:3: --finetuning_type changes the model (trains a part of the weights) and is not read; describe the \
         model with --model or --shape, which replaces the launch's own",
    );
}

#[test]
fn mindspeed_on_fsdp2() {
    let file = "model:\n  model_name_or_path: Qwen/Qwen3-8B\ndata:\n  cutoff_len: 4096\nparallel:\n  fsdp_size: 16\n  \
                fsdp_modules:\n    - model.layers.{*}\n  tp_size: 1\n  recompute: True\ntraining:\n  \
                per_device_train_batch_size: 2\n  gradient_accumulation_steps: 4\n  chunk_loss_size: 1024\n  \
                optimizer: adamw\n";
    check(
        "q.yaml",
        file,
        &[],
        "Qwen/Qwen3-8B on 16 ranks, micro 2 global 128 seq 4096 zero 3 bf16 full without training.chunk_loss_size",
    );
    check(
        "t.sh",
        "NPUS=16\nNNODES=2\ntorchrun --nproc_per_node $NPUS --nnodes $NNODES train_fsdp2.py q.yaml | tee l.log",
        &[("q.yaml", file)],
        "Qwen/Qwen3-8B on 32 ranks, micro 2 global 256 seq 4096 zero 3 bf16 full without training.chunk_loss_size",
    );
    check(
        "t.sh",
        "torchrun --nproc_per_node 8 train_fsdp2.py gone.yaml",
        &[],
        "t.sh:1: the command reads `gone.yaml`, which is not found beside the script; give that file",
    );
}

#[test]
fn commands_of_maxtext() {
    check(
        "t.sh",
        "python3 -m maxtext.trainers.pre_train.train $PWD/configs/base.yml model_name=llama2-70b per_device_batch_size=4 \
         remat_policy=full max_target_length=4096 ici_fsdp_parallelism=64 steps=30",
        &[],
        "meta-llama/Llama-2-70b-hf on 64 ranks, micro 4 global 256 seq 4096 zero 3 bf16 full",
    );
    check(
        "t.sh",
        "python3 -m MaxText.train configs/base.yml model_name=qwen3-8b",
        &[],
        "Qwen/Qwen3-8B on ? ranks, micro 12 global ? seq 2048 zero 3 bf16 full",
    );
    check(
        "t.sh",
        "python3 -m MaxText.train base.yml base_emb_dim=6144 base_num_kv_heads=24 base_num_query_heads=24 \
         base_mlp_dim=24576 base_num_decoder_layers=48 ici_fsdp_parallelism=64",
        &[("base.yml", "per_device_batch_size: 2\nmax_target_length: 1024\n")],
        "? on 64 ranks, micro 2 global 128 seq 1024 zero 3 bf16 full",
    );
}
