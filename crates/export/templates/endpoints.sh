here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The address and port of every instance: endpoints POOL INSTANCES NODES SLOTS PORT
endpoints() {
  local -a hosts
  local instance
  mapfile -t hosts < "$here/$1.hosts"
  for (( instance = 0; instance < $2; instance++ )); do
    if (( $3 > 1 )); then
      echo "${hosts[instance * $3]} $5"
    else
      echo "${hosts[instance / $4]} $(( $5 + instance % $4 ))"
    fi
  done
}

