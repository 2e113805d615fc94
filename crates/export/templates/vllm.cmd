{% if pool.place.nodes > 1 and pool.dp > 1 %}
args+=(
  --data-parallel-size-local {{ pool.place.dp_local }}
  --data-parallel-address "$head"
  --data-parallel-rpc-port 13345
)
if (( node > 0 )); then
  args+=(--headless --data-parallel-start-rank $(( node * {{ pool.place.dp_local }} )))
{% if pool.dp >= 16 %}
else
  args+=(--api-server-count 8)
{% endif %}
fi
{% elif pool.place.nodes > 1 %}
args+=(--nnodes {{ pool.place.nodes }} --node-rank "$node" --master-addr "$head")
if (( node > 0 )); then
  args+=(--headless)
fi
{% elif pool.dp > 1 and pool.place.slots > 1 %}
args+=(--data-parallel-rpc-port $(( 13345 + slot )))
{% endif %}
exec vllm serve "$model" --host 0.0.0.0 --port "$port" --served-model-name {{ deployment.model | word }} "${args[@]}"
