#!/usr/bin/env bash
# {{ deployment.title }}
# Starts every node of every instance over ssh. This folder must be at the same place on all of them, whose addresses are in
# the .hosts files, a node a line. Logs are in logs/.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$here/logs"

# Starts one node: start POOL INSTANCE NODE HOST
start() {
  # The name and the numbers are meant to be filled in here.
  # shellcheck disable=SC2029
  ssh -n "$4" "MODEL='${MODEL:-}' NIC='${NIC:-}' bash '$here/$1.sh' $2 $3" > "$here/logs/$1-$2-$3.log" 2>&1 &
}

{% for pool in deployment.pools %}
mapfile -t hosts < "$here/{{ pool.name }}.hosts"
for (( instance = 0; instance < {{ pool.instances }}; instance++ )); do
{% if pool.place.nodes > 1 %}
  for (( node = 0; node < {{ pool.place.nodes }}; node++ )); do
    start {{ pool.name }} "$instance" "$node" "${hosts[instance * {{ pool.place.nodes }} + node]}"
  done
{% else %}
  start {{ pool.name }} "$instance" 0 "${hosts[instance{{ " / " ~ pool.place.slots if pool.place.slots > 1 else "" }}]}"
{% endif %}
done
{% endfor %}
wait
