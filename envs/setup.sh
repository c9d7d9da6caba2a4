#!/usr/bin/env bash
# Make a virtual environment from a lock, every file checked by its hash: envs/setup.sh [FOLDER] [LOCK]
# Run by `make`. It does nothing if the folder was made from the same files, and is safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
lock=envs/${2:-requirements.lock}
made_from() { cat "$lock" envs/uv.lock pyproject.toml; }
here() { head -n 3 "$venv/bin/crossres" 2>/dev/null | grep -qF "$PWD/$venv/bin/python"; } # as its scripts have it
here && made_from | sha256sum --check --status "$venv/ready" 2>/dev/null && exit 0
here || rm -rf "$venv" # unfinished, or of a folder that was moved or copied

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: $python is missing or older than 3.11; install Python 3.11 or later, or name one: make PYTHON=python3.12" >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    command="apt-get install -y --no-install-recommends python3-venv"
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive $command
    elif sudo -n true 2>/dev/null; then
        sudo -n apt-get update -qq && sudo -n DEBIAN_FRONTEND=noninteractive $command
    else
        echo "setup: Python's venv module is missing; run: sudo $command" >&2
        exit 1
    fi
fi

size="about 5 GB, most of it torch with CUDA"
[ "$lock" = envs/report.lock ] && size="about 0.7 GB, without torch"
echo "setup: making $venv from $lock ($size)" >&2
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/uv.lock
cp "$venv/bin/uv" "$venv/uv" # the lock does not name uv, so that syncing removes it
"$venv/uv" pip sync --quiet --python "$venv/bin/python" --require-hashes --compile-bytecode "$lock"
"$venv/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --offline --editable .
made_from | sha256sum >"$venv/ready"
