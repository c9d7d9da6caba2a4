#!/usr/bin/env bash
# Install TeX from envs/apt.txt if it is missing, as root or with a sudo that needs no password; otherwise print the command.
set -euo pipefail
cd "$(dirname "$0")/.."

complete() {
    for program in latexmk pdflatex bibtex kpsewhich; do
        command -v "$program" || return
    done
    kpsewhich adjustbox.sty lmodern.sty algorithm2e.sty
}
complete >/dev/null 2>&1 && exit 0
install() {
    echo "tex: installing $(tr '\n' ' ' < envs/apt.txt)(about 200 MB)" >&2
    "$@" apt-get update -qq
    # shellcheck disable=SC2046
    "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(cat envs/apt.txt) >/dev/null
}
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    install
elif command -v apt-get >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    install sudo -n
else
    echo "tex: TeX is missing, so no PDF is built; run: sudo apt-get install -y --no-install-recommends $(tr '\n' ' ' < envs/apt.txt)" >&2
    exit 1
fi
