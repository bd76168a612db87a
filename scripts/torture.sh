#!/usr/bin/env bash
# Kills runs, or takes their disk away: bash scripts/torture.sh {kills|disk} --folder DIR [arguments], --help for those.
# Takes hours; run again, it goes on where it stopped.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
name="${1:?kills or disk}"
shift
exec python "$root/tests/torture/$name.py" "$@"
