#!/bin/sh
# Run by Snakemake, in the project's root, when conda has made the environment. It makes it anew when this file changes, and
# `make lock` writes here what the lock is: sha256 28d89fe7d1b51331ef371847da5057400173b9ba663ba365f0bf5f3017dbf014
set -eu
python -m pip install --quiet --no-deps --require-hashes --requirement envs/requirements.lock
