#!/usr/bin/env bash
# Put Apptainer into a folder: envs/apptainer.sh FOLDER. As root on Debian 12, which has no package of it. Debian's own (of sid)
# is unpacked beside a newer libc (of trixie); both come from the mirror that apt uses, checked by its keys.
set -euo pipefail
folder=$(realpath -m "$1")
sources=/etc/apt/sources.list.d/debian.sources
if [ "$(id -u)" != 0 ] || ! grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release || [ ! -f "$sources" ]; then
    echo "apptainer: only installed here as root on Debian 12; elsewhere: https://apptainer.org/docs/admin/main/installation.html" >&2
    exit 1
fi
if ! dpkg --status patchelf squashfs-tools squashfuse > /dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends patchelf squashfs-tools squashfuse > /dev/null
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work"/{lists/partial,cache/archives/partial,parts}

# The paragraphs of apt's own sources, but for security updates, with other suites.
awk 'BEGIN { RS = ""; ORS = "\n\n" } !/security/' "$sources" | sed 's/^Suites:.*/Suites: trixie sid/' > "$work/parts/newer.sources"
cat > "$work/apt.conf" << CONF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$work/parts";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
CONF
export APT_CONFIG=$work/apt.conf
apt-get update -qq
(cd "$work" && apt-get download -qq apptainer/sid libc6/trixie)
mkdir -p "$folder/glibc"
dpkg-deb -x "$work"/apptainer_*.deb "$folder"
dpkg-deb -x "$work"/libc6_*.deb "$folder/glibc"

libraries=/usr/lib/$(uname -m)-linux-gnu
for program in "$folder/usr/bin/apptainer" "$folder$libraries/apptainer/bin/starter"; do
    patchelf --set-interpreter "$(echo "$folder/glibc$libraries"/ld-linux-*.so.*)" \
        --set-rpath "$folder/glibc$libraries:/lib/$(uname -m)-linux-gnu:$libraries" "$program"
done
# It looks for its configuration and its place for sessions beside both.
mkdir -p "$folder"/usr/lib/var/lib/apptainer/mnt/session "$folder"/usr/var/lib/apptainer/mnt/session
ln -sfn ../etc "$folder/usr/etc"
ln -sfn ../../etc "$folder/usr/lib/etc"
"$folder/usr/bin/apptainer" --version
