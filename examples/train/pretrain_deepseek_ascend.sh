#!/bin/bash
# DeepSeek-V3 under MindSpeed-LLM on 64 nodes of eight.
export HCCL_CONNECT_TIMEOUT=1800
NPUS_PER_NODE=8
NNODES=64
TP=1
PP=8
EP=64
VPP=4

MOE_ARGS="
    --moe-grouped-gemm --num-experts 256 --moe-router-topk 8 --n-shared-experts 1
    --first-k-dense-replace 3 --moe-intermediate-size 2048
"
MLA_ARGS="
    --multi-head-latent-attention --q-lora-rank 1536 --kv-lora-rank 512
    --qk-rope-head-dim 64 --qk-nope-head-dim 128 --v-head-dim 128
"
python -m torch.distributed.launch --nproc_per_node $NPUS_PER_NODE --nnodes $NNODES pretrain_gpt.py \
    $MOE_ARGS $MLA_ARGS \
    --num-layers 64 --noop-layers 47,62,63 --hidden-size 7168 --ffn-hidden-size 18432 \
    --num-attention-heads 128 --swiglu --vocab-size 129280 --seq-length 4096 \
    --micro-batch-size 1 --global-batch-size 7680 --bf16 --sequence-parallel \
    --tensor-model-parallel-size ${TP} --pipeline-model-parallel-size ${PP} \
    --expert-model-parallel-size ${EP} --num-layers-per-virtual-pipeline-stage ${VPP} \
    --recompute-granularity full --recompute-method block --recompute-num-layers 8 \
    --use-distributed-optimizer --swap-optimizer --reuse-fp32-param
