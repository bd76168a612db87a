#!/usr/bin/env bash
# Kills runs, or takes their disk away: bash scripts/torture.sh {kills|disk} --folder DIR [arguments], --help for those.
# Takes hours; run again, it goes on where it stopped.
set -euo pipefail
case "${1:-}" in kills | disk) ;; *) echo "$0: expected kills or disk, then --folder DIR" >&2 && exit 1 ;; esac
source "$(dirname "$0")/environment.sh"
name="$1"
shift
exec python "$root/tests/torture/$name.py" "$@"
