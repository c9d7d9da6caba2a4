#!/bin/sh
# Python, git and TeX, from apt. Run as root in a Debian or Ubuntu base, by docker/Dockerfile and docker/image.def.
set -eu
cd "$(dirname "$0")/.."

if ! command -v apt-get >/dev/null 2>&1; then
    echo "image: this base has no apt-get; take one of Debian 12 or later, or of Ubuntu 24.04 or later" >&2
    exit 1
fi
install() {
    echo "image: installing $*" >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
apt-get update -qq
install ca-certificates git python3 python3-venv
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "image: $(python3 --version) of this base is older than 3.11; take a base of Debian 12 or later, or of Ubuntu 24.04 or later" >&2
    exit 1
fi
# shellcheck disable=SC2046
install $(cat envs/apt.txt)
rm -rf /var/lib/apt/lists/*

# A mounted repository belongs to another user than the container's; without this, git would not tell its commit.
git config --system --add safe.directory '*'
