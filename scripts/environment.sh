# Source this: it enters the clone's own environment, .venv, and makes it first where it is missing or out of date.
# PYTHON names the interpreter (default: python3); 3.11 and 3.12 have a fairseq that works with a current torch.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || {
    echo "$0: $("$python" --version 2>&1) is not Python 3.11 or 3.12; name one with PYTHON=/path/to/python3.11" >&2
    exit 1
}
wanted="$(cat "$root"/setup.py "$root"/scripts/{constraints.txt,environment.sh} | cksum) $root $("$python" --version 2>&1)"
if [ "$(cat "$root/.venv/installed" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing into $root/.venv: 2.3 GB, several more with torch's CUDA build; a minute or a few."
    # the interpreter below whatever environment is entered, which may be the very one that goes
    python="$("$python" -c 'import sys; print(sys._base_executable or sys.executable)')"
    rm -rf "$root/.venv"
    "$python" -m venv "$root/.venv" || {
        echo "$0: could not make an environment; on Debian and Ubuntu, install python3-venv" >&2
        exit 1
    }
    install() {
        "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
            --constraint "$root/scripts/constraints.txt" "$@"
    }
    # uv installs all of it in a fifth of pip's time, but torch, which pip may find where uv does not look
    quickly() {
        [ -z "${PIP_INDEX_URL:-}" ] && ! "$root/.venv/bin/python" -m pip config get global.index-url >/dev/null 2>&1 &&
            install uv 2>/dev/null && UV_SYSTEM_CERTS=1 "$root/.venv/bin/uv" pip install --quiet --no-cache --no-config \
            --python "$root/.venv/bin/python" --constraint "$root/scripts/constraints.txt" "$@" 2>/dev/null
    }
    install torch || exit 1
    quickly --editable "$root[fairseq,quickstart,test]" || {
        echo "Not with uv, which knows nothing of pip's own index; pip takes some minutes."
        install --editable "$root[fairseq,quickstart,test]" || exit 1
    }
    # ve-fairseq requires torchaudio, and its one build there needs CUDA: beside torch's CPU build it does not load, and
    # whatever looks for it, as transformers does, does not either. Text needs none.
    "$root/.venv/bin/python" -c "import torchaudio" 2>/dev/null ||
        "$root/.venv/bin/python" -m pip uninstall --quiet --yes torchaudio || exit 1
    # nothing is compiled so far, and most is never imported; what is, once here
    compile() {
        env -u PYTHONDONTWRITEBYTECODE "$root/.venv/bin/python" \
            -c "import fairseq_vae, fairseq_cli.train, sacrebleu, sklearn.linear_model"
    }
    compile >/dev/null 2>&1 || compile || exit 1 # the second time with its reason
    echo "$wanted" >"$root/.venv/installed"
fi
PATH="$root/.venv/bin:$PATH"
unset PYTHONDONTWRITEBYTECODE # or each process compiles anew what it imports
