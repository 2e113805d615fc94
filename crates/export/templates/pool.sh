#!/usr/bin/env bash
# {{ deployment.title }}
# One node of one {{ pool.role }} instance: {{ pool.name }}.sh INSTANCE [NODE], both counted from 0.
# MODEL is the checkpoint{{ " (it must hold " ~ pool.weights ~ " weights)" if pool.other_checkpoint else "" }}, NIC the network interface between nodes.
# Not every engine needs all that is worked out here.
# shellcheck disable=SC2034
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
instance=${1:?usage: {{ pool.name }}.sh INSTANCE [NODE]}
node=${2:-0}
nic=${NIC:-eth0}
model=${MODEL:-}
if [[ -z $model ]]; then
  model={{ deployment.model | word }}
fi
if (( instance >= {{ pool.instances }} || node >= {{ pool.place.nodes }} )); then
  echo "there are {{ pool.instances }} instances of {{ pool.place.nodes }} nodes" >&2
  exit 2
fi

mapfile -t hosts < "$here/{{ pool.name }}.hosts"
{% if pool.place.nodes > 1 %}
slot=0
head=${hosts[instance * {{ pool.place.nodes }}]}
self=${hosts[instance * {{ pool.place.nodes }} + node]}
{% else %}
{% if pool.place.slots > 1 %}
slot=$(( instance % {{ pool.place.slots }} ))
head=${hosts[instance / {{ pool.place.slots }}]}
{% else %}
slot=0
head=${hosts[instance]}
{% endif %}
self=$head
{% endif %}
port=$(( {{ pool.port }} + slot ))
first=$(( slot * {{ pool.place.devices }} ))
devices=$(seq -s , "$first" $(( first + {{ pool.place.devices - 1 }} )))
{% if deployment.disaggregated %}
mapfile -t prefill_hosts < "$here/prefill.hosts"
store=${prefill_hosts[0]}
side_channel_port=$(( 5600 + 100 * slot ))
kv_port=$(( 36000 + 100 * slot ))
engine_id={{ pool.name }}-$instance
bootstrap_port=$(( 8998 + slot ))
{% endif %}
{% if deployment.kv_pool %}
lookup_port=$slot
{% endif %}

{% for variable in env %}
export {{ variable.flag }}={{ variable.value | value }}
{% endfor %}

args=(
{% for argument in args %}
  {{ argument.flag }}{% if argument.value is not none %} {{ argument.value | value }}{% endif %}

{% endfor %}
)
{% include pool.engine ~ ".cmd" %}
