#!/usr/bin/env bash
# Write envs/sbom.cdx.json: what envs/requirements.lock puts into the image (Linux, x86-64, Python 3.11), with licences, in
# CycloneDX. Run by `make lock`; the same lock gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv=.venv/uv

"$uv" venv --quiet --python 3.11 "$work/venv"
"$uv" pip sync --quiet --python "$work/venv/bin/python" --require-hashes envs/requirements.lock
"$uv" venv --quiet --python 3.11 "$work/tools"
"$uv" pip sync --quiet --python "$work/tools/bin/python" --require-hashes envs/tools.lock
"$work/tools/bin/cyclonedx-py" environment \
    --pyproject pyproject.toml --output-reproducible --of JSON --output-file "$work/sbom.json" "$work/venv"
# Without the thousand links to the pages of each project, and with the licence of the packages of ImageNet weights, which
# have it in a file alone.
.venv/bin/python - "$work/sbom.json" envs/sbom.cdx.json << 'PYTHON'
import json
import sys

from crossres.suites.weights import PINNED

LICENCES = {pinned.package: pinned.licence for pinned in PINNED.values() if pinned.package}


def pruned(thing):
    if isinstance(thing, dict):
        return {key: pruned(value) for key, value in thing.items() if key != "externalReferences"}
    return [pruned(value) for value in thing] if isinstance(thing, list) else thing


with open(sys.argv[1]) as source, open(sys.argv[2], "w") as target:
    document = pruned(json.load(source))
    for part in document["components"]:
        if part["name"] in LICENCES:
            part["licenses"] = [{"license": {"acknowledgement": "declared", "id": LICENCES[part["name"]]}}]
    json.dump(document, target, indent=1, ensure_ascii=False)
    target.write("\n")
PYTHON
