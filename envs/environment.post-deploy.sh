#!/bin/sh
# Run by Snakemake, in the project's root, when conda has made the environment. It makes it anew when this file changes, and
# `make lock` writes here what the lock is: sha256 dc3199ca658fc88e65a98f641ccb6e07be05ee271fdb9d8f718027dc712422d6
set -eu
python -m pip install --quiet --no-deps --require-hashes --requirement envs/requirements.lock
