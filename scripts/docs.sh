#!/usr/bin/env bash
# Build the documentation into site/: bash scripts/docs.sh [arguments of mkdocs build]; open site/index.html to read it.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
cd "$root"
export NO_MKDOCS_2_WARNING=1  # of the theme's authors, on mkdocs' future
exec mkdocs build --strict "$@"
