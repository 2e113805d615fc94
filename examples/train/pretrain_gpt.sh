#!/bin/bash
# GPT-3 175B on 16 nodes of eight.
export CUDA_DEVICE_MAX_CONNECTIONS=1
GPUS_PER_NODE=8
NNODES=${NNODES:-16}
TP=8
PP=8
GBS=$((NNODES * GPUS_PER_NODE / (TP * PP) * 128))   # 128 sequences per replica

MODEL_ARGS=(
    --num-layers 96 --hidden-size 12288 --num-attention-heads 96
    --seq-length 2048 --max-position-embeddings 2048 --vocab-size 50304
)
TRAINING_ARGS="
    --micro-batch-size 1 --global-batch-size $GBS
    --bf16 --lr 6.0e-5 --train-samples 146484375
    --use-distributed-optimizer --sequence-parallel
    --recompute-granularity selective
"
torchrun --nproc_per_node $GPUS_PER_NODE --nnodes $NNODES pretrain_gpt.py \
    "${MODEL_ARGS[@]}" $TRAINING_ARGS \
    --tensor-model-parallel-size $TP --pipeline-model-parallel-size $PP \
    --num-layers-per-virtual-pipeline-stage 3
