#!/usr/bin/env bash
# Lint, check types and test: bash scripts/test.sh [pytest arguments]; `-m "not slow"` leaves command lines out (seconds).
set -euo pipefail
source "$(dirname "$0")/environment.sh"
cd "$root"
ruff check .
ruff format --check .
types="$(mktemp)"
mypy >"$types" 2>&1 & # takes one process most of a minute, beside the browser's download and the first tests
checking=$!
trap 'kill "$checking" 2>/dev/null || true; rm -f "$types"' EXIT
source "$(dirname "$0")/browser.sh"
status=0
python -m pytest -n 2 --dist worksteal "$@" || status=$? # two processes of one thread each
wait "$checking" || status=$?
cat "$types"
exit "$status"
