#!/usr/bin/env bash
# Write a folder from which the project is set up and built without a network: envs/bundle.sh FOLDER [LOCK]
# It holds the committed project, the wheels of a lock, the image and the data if they are here, and checksums of all.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?name the folder to write}
lock=envs/${2:-requirements.lock}
python=${PYTHON:-python3}

if [ -e "$folder" ] && [ -n "$(ls -A "$folder")" ]; then
    echo "bundle: $folder is there already; remove it or name another" >&2
    exit 1
fi
mkdir -p "$folder/wheels" "$folder/crossres"
git archive HEAD | tar -x -C "$folder/crossres"
git diff --quiet HEAD || echo "bundle: changes that are not committed stay behind" >&2
"$python" -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --dest "$folder/wheels" \
    --requirement envs/uv.lock --requirement "$lock"
for file in docker/crossres.sif data/weights data/*/manifest.json; do
    place=${file%/manifest.json}
    if [ -e "$file" ]; then cp --recursive --parents "$place" "$folder/crossres/"; fi
done

version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
cat >"$folder/build" <<EOF
#!/usr/bin/env bash
# Check every file of this folder, then build without a network: ./build [TARGET of the Makefile; published when absent]
set -euo pipefail
cd "\$(dirname "\$0")"
sha256sum --check --quiet SHA256SUMS
export PIP_NO_INDEX=1 PIP_FIND_LINKS="\$PWD/wheels" UV_NO_INDEX=1 UV_FIND_LINKS="\$PWD/wheels" UV_OFFLINE=1
exec make -C crossres PYTHON="\${PYTHON:-python$version}" "\${@:-published}"
EOF
chmod +x "$folder/build"
cd "$folder"
sums=$(find . -type f -print0 | sort -z | xargs -0 sha256sum)
echo "$sums" >SHA256SUMS
echo "$folder: $(du -sh . | cut -f 1); ./build there needs Python $version on a $(uname -sm), make and, for the PDF, TeX"
