#!/bin/sh
# /opt/crossres: what envs/requirements.lock names, CUDA's libraries included, every file checked by its hash.
# Run after install-system.sh, by docker/Dockerfile and docker/image.def.
set -eu
cd "$(dirname "$0")/.."

# Trust the certificates of the system, so that a base can bring its own.
export PIP_CERT="${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}" SSL_CERT_FILE="${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"
export UV_CACHE_DIR=/opt/uv/cache # on one file system with the environment: linked, not copied

echo "image: installing envs/requirements.lock into /opt/crossres (about 5 GB)" >&2
python3 -m venv /opt/uv
/opt/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r envs/uv.lock
python3 -m venv --without-pip /opt/crossres
/opt/uv/bin/uv pip sync --quiet --python /opt/crossres/bin/python --require-hashes --compile-bytecode envs/requirements.lock
rm -rf /opt/uv
