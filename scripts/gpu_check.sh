#!/usr/bin/env bash
# A few minutes on your GPU, a table, and one JSON for an issue: bash scripts/gpu_check.sh [--output FOLDER] [--size base]
set -euo pipefail
case " $* " in *" -h "* | *" --help "*) exec "${PYTHON:-python3}" "$(dirname "$0")/gpu_check.py" --help ;; esac
source "$(dirname "$0")/environment.sh"
exec python "$root/scripts/gpu_check.py" "$@"
