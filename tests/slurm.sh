#!/usr/bin/env bash
# Install Slurm and munge if they are missing. Only root can start the daemons of Slurm, so nothing else is tried.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
    echo "slurm: make test-slurm starts Slurm's daemons, which only root can; run: sudo make test-slurm" >&2
    exit 1
fi
complete() {
    for program in munged slurmctld slurmd srun; do
        command -v "$program" || return
    done
}
complete >/dev/null && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "slurm: install Slurm (slurmctld, slurmd, its commands) and munge, then start again" >&2
    exit 1
fi
echo "slurm: installing slurm-wlm and munge" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
