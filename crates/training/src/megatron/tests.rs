use super::*;

const SCRIPT: &str = r#"#!/bin/bash
# A launch script in the manner of Megatron-LM's examples.
export CUDA_DEVICE_MAX_CONNECTIONS=1
GPUS_PER_NODE=8   # per host
NNODES=${NNODES:-16}
TP=8; PP=4
WORLD_SIZE=$(($GPUS_PER_NODE * NNODES))
GBS=$((WORLD_SIZE / (TP*PP) * 32))
if [ -z "$DATA" ]; then
  MBS=1
else
  MBS=4
fi
DISTRIBUTED_ARGS=(
    --nproc_per_node $GPUS_PER_NODE
    --nnodes ${NNODES}   # hosts
)
GPT_ARGS=(
    --num-layers 96 --hidden-size 12288
    --num-attention-heads 96
    --seq-length 2048 --vocab-size=50304
)
GPT_ARGS+=(--swiglu --group-query-attention --num-query-groups 8)
TRAIN_ARGS="
    --micro-batch-size ${MBS} \
    --global-batch-size $GBS --bf16 --lr 6.0e-5 --train-iters 1000
    --use-distributed-optimizer --sequence-parallel
    --frobnicate 3
"
NCCL_DEBUG=WARN torchrun "${DISTRIBUTED_ARGS[@]}" pretrain_gpt.py \
    ${GPT_ARGS[@]} $TRAIN_ARGS \
    --tensor-model-parallel-size $TP --pipeline-model-parallel-size $PP \
    --num-layers-per-virtual-pipeline-stage 4 --recompute-granularity selective
"#;

#[test]
fn variables_arrays_comments_and_continuations() {
    let import = import(SCRIPT).expect("a script of the usual kind");
    assert_eq!(import.spec.chips, Some(128));
    assert_eq!((import.spec.tp, import.spec.pp, import.spec.vpp), (Some(8), Some(4), Some(6)));
    assert_eq!((import.spec.micro_batch, import.spec.global_batch), (Some(1), Some(128)));
    assert_eq!((import.spec.zero, import.spec.sequence_parallel), (Some(1), Some(true)));
    assert_eq!(import.spec.recompute.as_deref(), Some("selective"));
    assert_eq!(import.spec.tokens.as_deref(), Some("262144000"));
    assert_eq!((import.shape.layers, import.shape.kv_heads, import.shape.vocab), (96, 8, 50_304));
    assert_eq!(import.shape.ffn, 32_768);
    assert_eq!(import.ignored, ["--lr"]);
    assert_eq!(import.unknown, ["--frobnicate"]);
    assert_eq!(import.notes, ["conditions were not evaluated: the first branch of each was taken"]);
}

#[test]
fn mindspeed_deepseek() {
    let text = "TP=1\nPP=8\nMOE_ARGS=\"--moe-grouped-gemm --num-experts 256 --moe-router-topk 8 --n-shared-experts 1 \
                --first-k-dense-replace 3 --moe-intermediate-size 2048\"\nMLA_ARGS=\"--multi-head-latent-attention --q-lora-rank 1536 \
                --kv-lora-rank 512 --qk-rope-head-dim 64 --qk-nope-head-dim 128 --v-head-dim 128\"\npython -m torch.distributed.launch \
                --nproc_per_node 8 --nnodes 64 pretrain_gpt.py $MOE_ARGS $MLA_ARGS --num-layers 64 --noop-layers 47,62,63 \
                --hidden-size 7168 --ffn-hidden-size 18432 --num-attention-heads 128 --swiglu --vocab-size 129280 --bf16 \
                --tensor-model-parallel-size ${TP} --pipeline-model-parallel-size ${PP} --expert-model-parallel-size 64 \
                --num-layers-per-virtual-pipeline-stage 4 --seq-length 4096 --micro-batch-size 1 --global-batch-size 7680 \
                --swap-optimizer --reuse-fp32-param";
    let import = import(text).expect("a script of the usual kind");
    assert_eq!(import.shape.layers, 61);
    assert_eq!((import.spec.chips, import.spec.vpp, import.spec.ep), (Some(512), Some(2), Some(64)));
    assert_eq!(import.spec.framework.as_deref(), Some("mindspeed"));
    assert_eq!(import.shape.experts.map(|experts| (experts.experts, experts.first_dense)), Some((256, 3)));
    assert!(import.unknown.is_empty(), "{:?}", import.unknown);
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    assert_eq!(import(text).map(|_| ()).map_err(|error| error.to_string()), Err(expected.to_owned()));
}

#[test]
fn errors_name_the_flag() {
    check_error("echo hello", "--from-megatron: found no command with arguments such as --num-layers");
    check_error(
        "python pretrain_gpt.py --num-layers 4",
        "--hidden-size: the script does not set it, and the model's size depends on it",
    );
    check_error(
        "python pretrain_gpt.py --hidden-size big --num-layers 4",
        "--hidden-size: `big` is not a whole number",
    );
    check_error(
        "python pretrain_gpt.py --hidden-size $1 --num-layers 4",
        "--hidden-size: its value is a variable that the script does not set; put a number there",
    );
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[-a-z$(){}\\[\\]@=+\"'# \\n;\\\\0-9%*/]{0,200}") {
        let _ = import(&text);
    }
}
