#!/usr/bin/env bash
# {{ deployment.title }}
# The one address that clients use: port 8100 of this host.
set -euo pipefail
{% set engine = deployment.pools[0].engine %}
{% if engine == "trtllm" %}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec trtllm-serve disaggregated -c "$here/trtllm-disaggregated.yaml"
{% else %}
{% include "endpoints.sh" %}
{% if engine == "sglang" %}
args=(--host 0.0.0.0 --port 8100)
{% if deployment.disaggregated %}
args+=(--pd-disaggregation)
{% for pool in deployment.pools %}
while read -r host port; do
{% if pool.role == "prefill" %}
  args+=(--prefill "http://$host:$port" $(( 8998 + port - {{ pool.port }} )))
{% else %}
  args+=(--decode "http://$host:$port")
{% endif %}
done < <(endpoints {{ pool.name }} {{ pool.instances }} {{ pool.place.nodes }} {{ pool.place.slots }} {{ pool.port }})
{% endfor %}
{% else %}
urls=()
while read -r host port; do
  urls+=("http://$host:$port")
done < <(endpoints serve {{ deployment.pools[0].instances }} {{ deployment.pools[0].place.nodes }} {{ deployment.pools[0].place.slots }} {{ deployment.pools[0].port }})
args+=(--worker-urls "${urls[@]}")
{% endif %}
exec python3 -m sglang_router.launch_router "${args[@]}"
{% else %}
{% for pool in deployment.pools %}
{{ pool.name }}_hosts=()
{{ pool.name }}_ports=()
while read -r host port; do
  {{ pool.name }}_hosts+=("$host")
  {{ pool.name }}_ports+=("$port")
done < <(endpoints {{ pool.name }} {{ pool.instances }} {{ pool.place.nodes }} {{ pool.place.slots }} {{ pool.port }})
{% endfor %}
{% if deployment.pools[0].npu %}
# VLLM_ASCEND is a checkout of the vllm-ascend repository.
exec python3 "${VLLM_ASCEND:?}/examples/disaggregated_prefill_v1/load_balance_proxy_server_example.py" \
{% else %}
# VLLM is a checkout of the vllm repository.
exec python3 "${VLLM:?}/tests/v1/kv_connector/nixl_integration/toy_proxy_server.py" \
{% endif %}
  --host 0.0.0.0 --port 8100 \
  --prefiller-hosts "${prefill_hosts[@]}" --prefiller-ports "${prefill_ports[@]}" \
  --decoder-hosts "${decode_hosts[@]}" --decoder-ports "${decode_ports[@]}"
{% endif %}
{% endif %}
