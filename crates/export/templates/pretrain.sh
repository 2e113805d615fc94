#!/usr/bin/env bash
# {{ title }}
# One node of the job: NODE_RANK and MASTER_ADDR say which and where the first one is, DEVICES_PER_NODE how many devices
# each has. Data, tokenizer, optimizer, initialisation and checkpoints are not part of a plan: give their flags to this
# script, which passes them on.
set -euo pipefail
DEVICES_PER_NODE=${DEVICES_PER_NODE:-8}
NNODES=$(( {{ ranks }} / DEVICES_PER_NODE ))
launcher=(
  --nnodes "$NNODES"
  --nproc-per-node "$DEVICES_PER_NODE"
  --node-rank "${NODE_RANK:-0}"
  --master-addr "${MASTER_ADDR:-localhost}"
  --master-port "${MASTER_PORT:-6000}"
)
args=(
{% for argument in args %}
  {{ argument.flag }}{% if argument.value is not none %} {{ argument.value | value }}{% endif %}

{% endfor %}
)
exec torchrun "${launcher[@]}" pretrain_gpt.py "${args[@]}" "$@"
