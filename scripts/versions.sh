#!/usr/bin/env bash
# The tests on several Pythons, each with a fairseq for it:
#     bash scripts/versions.sh [--write] [3.8 3.11 3.12] [-- pytest arguments]
# Prints a table; --write puts it, with its date, into docs/reliability.md. Environments (2 GB with torch's CPU build, 6
# with its CUDA build) are kept under VERSIONS_CACHE, by default ~/.cache/fairseq-vae.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
cache="${VERSIONS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairseq-vae}"
write="" versions=()
while (($#)); do
    case "$1" in
        --write) write=--write ;;
        --) shift && break ;;
        3.*) versions+=("$1") ;;
        *) echo "$0: $1: expected --write, a version as 3.8, or -- and pytest's arguments" >&2 && exit 1 ;;
    esac
    shift
done
((${#versions[@]})) || versions=(3.8 3.11 3.12)

interpreter() { # of a version: the newest of pyenv's, or else the one on the path
    local found
    found="$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python 2>/dev/null | sort -V | tail -1)"
    [ -n "$found" ] || found="$(command -v "python$1")" || {
        echo "$0: there is no Python $1, neither of pyenv nor python$1 on the path" >&2
        exit 1
    }
    echo "$found"
}

environment() { # of a version, made where it is missing or out of date
    local version="$1" folder="$cache/$1" python wanted
    python="$(interpreter "$version")"
    wanted="$(cat "$root/setup.py" "$root"/scripts/{constraints.txt,versions.sh} | cksum) $root $("$python" --version)"
    [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || return 0
    echo "Installing into $folder" >&2
    rm -rf "$folder"
    "$python" -m venv "$folder"
    local install=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
    if [ "$version" = 3.8 ]; then # constraints.txt pins for newer Pythons; official fairseq needs pip < 24.1
        "${install[@]}" "pip<24.1" torch==1.12.1
    else
        install+=(--constraint "$root/scripts/constraints.txt")
        "${install[@]}" torch
    fi
    "${install[@]}" --editable "$root[fairseq,quickstart,test]"
    "$folder/bin/python" -c "import torchaudio" 2>/dev/null || # see environment.sh
        "$folder/bin/python" -m pip uninstall --quiet --yes torchaudio
    echo "$wanted" >"$folder/installed"
}

left_out() { # pytest's arguments that leave out what a version cannot run, one a line
    [ "$1" = 3.8 ] && sed 's/ *#.*//; /^$/d' "$root/scripts/versions_3.8.txt" || true
}

source "$root/scripts/browser.sh"
for version in "${versions[@]}"; do
    environment "$version"
    mapfile -t without < <(left_out "$version")
    (
        cd "$root"
        export PATH="$cache/$version/bin:$PATH" OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
        rm -f "$cache/$version".{xml,md}
        python -m pytest -q -n 2 --dist worksteal -p no:cacheprovider --junitxml "$cache/$version.xml" \
            "${without[@]}" "$@" >"$cache/$version.log" 2>&1 || echo "Python $version: see $cache/$version.log" >&2
        python scripts/versions_row.py "$cache/$version.xml" "${without[@]}" -- "$@" >"$cache/$version.md"
    )
done
"$cache/${versions[0]}/bin/python" "$root/scripts/versions_row.py" --table "$cache" $write
