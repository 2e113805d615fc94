node=${LWS_WORKER_INDEX:-0}
head=${LWS_LEADER_ADDRESS:-localhost}
self=${POD_IP:-localhost}
nic=${NIC:-eth0}
model=${MODEL:-}
if [[ -z $model ]]; then
  model={{ deployment.model | word }}
fi
port={{ pool.port }}
{% if deployment.disaggregated %}
side_channel_port=5600
kv_port=36000
engine_id=$head
{% endif %}
{% for variable in env %}
export {{ variable.flag }}={{ variable.value | value }}
{% endfor %}
args=(
{% for argument in args %}
  {{ argument.flag }}{% if argument.value is not none %} {{ argument.value | value }}{% endif %}

{% endfor %}
)
{% include "vllm.cmd" %}
