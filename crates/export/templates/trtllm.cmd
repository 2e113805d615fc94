{% set server = 'trtllm-serve "$model" --port "$port" --extra_llm_api_options "$here/' ~ pool.name ~ '.yaml" "${args[@]}"' %}
{% if pool.place.nodes > 1 %}
# All nodes of an instance are one job: run this for node 0 only, inside an allocation that holds its nodes.
if (( node > 0 )); then
  exit 0
fi
nodes=$(sed -n "$(( instance * {{ pool.place.nodes }} + 1 )),$(( (instance + 1) * {{ pool.place.nodes }} ))p" "$here/{{ pool.name }}.hosts" | paste -sd ,)
exec srun --nodes {{ pool.place.nodes }} --nodelist "$nodes" --ntasks {{ pool.place.nodes * pool.place.devices }} --ntasks-per-node {{ pool.place.devices }} --mpi=pmix \
  trtllm-llmapi-launch {{ server }}
{% else %}
exec {{ server }}
{% endif %}
