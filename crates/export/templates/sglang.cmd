{% if pool.place.nodes > 1 %}
args+=(--nnodes {{ pool.place.nodes }} --node-rank "$node" --dist-init-addr "$head:5000")
{% endif %}
exec python3 -m sglang.launch_server --model-path "$model" --served-model-name {{ deployment.model | word }} --port "$port" "${args[@]}"
