#!/bin/sh
# Run by Snakemake, in the project's root, when conda has made the environment. It makes it anew when this file changes, and
# `make lock` writes here what the lock is: sha256 5307d667aaaa781273e977b801ba389e800337e303661b648f623407f7df83da
set -eu
python -m pip install --quiet --no-deps --require-hashes --requirement envs/requirements.lock
