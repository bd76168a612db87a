#!/usr/bin/env bash
# A text VAE trained, measured and sampled: bash scripts/quickstart.sh [--smoke] [--data FILE] [--output FOLDER]
# Run again, it goes on where it stopped.
set -euo pipefail
case " $* " in *" -h "* | *" --help "*) exec "${PYTHON:-python3}" "$(dirname "$0")/quickstart.py" --help ;; esac
source "$(dirname "$0")/environment.sh"
exec python "$root/scripts/quickstart.py" "$@"
