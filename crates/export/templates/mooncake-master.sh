#!/usr/bin/env bash
# {{ deployment.title }}
# The master of the cache pool, on the host that mooncake.json names.
set -euo pipefail
exec mooncake_master --port 50088 --eviction_high_watermark_ratio 0.9 --eviction_ratio 0.1
