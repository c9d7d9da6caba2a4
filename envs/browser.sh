#!/usr/bin/env bash
# Install Chromium and its driver (Debian's names) if they are missing, as root or with a sudo that needs no password;
# otherwise print the command.
set -euo pipefail
packages="chromium chromium-driver"
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0

install() {
    echo "browser: installing $packages (about 400 MB)" >&2
    "$@" apt-get update -qq
    # shellcheck disable=SC2086
    "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
}
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    install
elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then
    install sudo -n
else
    echo "browser: Chromium is missing; run: sudo apt-get install -y --no-install-recommends $packages" >&2
    exit 1
fi
