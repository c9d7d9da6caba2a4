#!/bin/sh
# Run by Snakemake, in the project's root, when conda has made the environment. It makes it anew when this file changes, and
# `make lock` writes here what the lock is: sha256 593485b255a27c351451f4dea9e77beee823a6a0e8c1766a6ea181e3471addb3
set -eu
python -m pip install --quiet --no-deps --require-hashes --requirement envs/requirements.lock
