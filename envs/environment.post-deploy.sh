#!/bin/sh
# Run by Snakemake, in the project's root, when conda has made the environment. It makes it anew when this file changes, and
# `make lock` writes here what the lock is: sha256 ac747eb1f0d4d602747b6f650851a60f58f93d4d7184f3c08c9c49bb06bb7e82
set -eu
python -m pip install --quiet --no-deps --require-hashes --requirement envs/requirements.lock
