"""The thesis's own logs, turned into records.

A log is identified by its SHA-256, listed in `thesis.sha256` beside this module, and never by its name.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from crossres.base import CrossresError, at_path
from crossres.files import sha256
from crossres.records.record import Cost, Epoch, Evaluation, Provenance, Record, Source, SourceFile
from crossres.suites.spec import Spec
from crossres.suites.suite import Suite

REPOSITORY = "https://github.com/gheith3/KnowledgeDistillation"
COMMIT = "68fc1581138e5d8001efbf410bd0e3663961f111"
SEED = 42
DEVICE = "NVIDIA GeForce RTX 5070 Laptop GPU"
DIGESTS = Path(__file__).with_name("thesis.sha256")
# The logs hold no parameter counts; these are of the architectures with 100 classes.
PARAMETERS = {"torchvision/efficientnet_v2_l": 117_362_372, "torchvision/efficientnet_v2_s": 20_305_588}


class Log(NamedTuple):
    """One verified log file; `path` is its place in the log folder."""

    path: str
    sha256: str
    content: bytes


def known_paths() -> dict[str, str]:
    """Return the place of each log in the log folder, by its SHA-256."""
    rows = (line.split(maxsplit=1) for line in DIGESTS.read_text(encoding="utf-8").splitlines())
    return {row[0]: row[1] for row in rows}


def read_logs(source: str | None) -> dict[str, Log]:
    """Find and verify the logs, and return them by their path in the log folder.

    Args:
        source: A folder that holds them, at any depth, or an archive of the repository; None downloads the archive.

    Raises:
        CrossresError: When a log is missing or differs.
    """
    known, logs = known_paths(), {}
    for content in _files(source):
        digest = sha256(content)
        if digest in known:
            logs[known[digest]] = Log(known[digest], digest, content)
    if missing := sorted(set(known.values()) - set(logs)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        where = source or f"{REPOSITORY} at {COMMIT[:7]}"
        raise CrossresError(f"{where}: no file with the SHA-256 of {missing[0]}{more}; these logs are not the thesis's")
    return logs


def _files(source: str | None) -> Iterator[bytes]:
    if source is None:
        address = f"{REPOSITORY}/archive/{COMMIT}.tar.gz"
        yield from _members(io.BytesIO(_download(address)), address)
    elif Path(source).is_dir():
        for path in sorted(Path(source).rglob("*.*")):
            if path.suffix in (".csv", ".json") and path.is_file():
                yield path.read_bytes()
    elif Path(source).is_file():
        yield from _members(io.BytesIO(Path(source).read_bytes()), source)
    else:
        raise CrossresError(f"{source}: no such folder or archive")


def _members(archive: io.BytesIO, where: str) -> Iterator[bytes]:
    try:
        with tarfile.open(fileobj=archive) as tar:
            for member in tar:
                if member.isfile() and member.name.endswith((".csv", ".json")):
                    file = tar.extractfile(member)
                    assert file is not None
                    yield file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise CrossresError(f"{where}: not a whole tar archive ({' '.join(str(error).split())})") from None


def _download(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=60) as response:
            return response.read()
    except (urllib.error.URLError, TimeoutError) as error:
        hint = "give the folder of the logs with --source"
        raise CrossresError(f"{address}: could not be downloaded ({error}); {hint}") from None


def import_records(suite: Suite, source: str | None) -> list[Record]:
    """Turn the verified logs into one record per run of a suite.

    Args:
        source: Where the logs are, as for `read_logs`.

    Raises:
        CrossresError: When a log is missing or differs, or a spec disagrees with the logged configuration.
    """
    logs = read_logs(source)
    return [_record(suite.resolve(name, SEED), logs) for name in suite.runs]


def _record(spec: Spec, logs: dict[str, Log]) -> Record:
    own = {path.split("/")[1]: log for path, log in logs.items() if _thesis_id(path) == spec.thesis_id}
    if "config.json" in own:
        _check_config(spec, json.loads(own["config.json"].content))
    results = json.loads(own["final_results.json"].content)["results"]
    rows = csv.DictReader(io.StringIO(own["training_history.csv"].content.decode()))
    history = [_epoch(row) for row in rows]
    best = history[results["best_epoch"] - 1]
    if best.test_accuracy_pct != results["final_accuracy"] or len(history) != results["total_epochs"]:
        raise CrossresError(f"{own['final_results.json'].path}: disagrees with {own['training_history.csv'].path}")
    files = [SourceFile(path=log.path, sha256=log.sha256) for log in sorted(own.values())]
    return Record(
        spec=spec,
        history=history,
        stopped_early=results["early_stopped"],
        best=_evaluation(best),
        last=_evaluation(history[-1]),
        cost=Cost(parameters=PARAMETERS[spec.model.name], train_minutes=results["training_time_minutes"]),
        provenance=Provenance(
            source=Source(repository=REPOSITORY, commit=COMMIT, files=files), device=DEVICE, precision="fp16"
        ),
    )


def _thesis_id(path: str) -> str:
    folder = path.split("/")[0]
    if folder.startswith("teacher"):
        return folder
    return "v3.1" if folder.startswith("v3_1_") else folder.split("_")[0]


def _epoch(row: dict[str, str]) -> Epoch:
    # From epoch 6 on, the thesis logged the next epoch's rate. It is kept as logged.
    return Epoch(
        epoch=int(row["epoch"]),
        learning_rate=float(row["learning_rate"]),
        train_loss=float(row["train_loss"]),
        test_loss=float(row["val_loss"]),
        test_accuracy_pct=float(row["val_accuracy"]),
    )


def _evaluation(epoch: Epoch) -> Evaluation:
    return Evaluation(epoch=epoch.epoch, top1_pct=epoch.test_accuracy_pct, nll=epoch.test_loss)


def _check_config(spec: Spec, config: dict[str, Any]) -> None:
    """Compare a spec with the configuration that the thesis logged for the run."""
    for path, logged in _logged_settings(config).items():
        ours = at_path(spec, path)
        agrees = abs(ours - logged) < 1e-9 if isinstance(logged, float) else ours == logged
        if not agrees:
            raise CrossresError(f"run {spec.run}: {path} is {ours}, but the thesis logged {logged}")


def _logged_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a logged configuration by their paths in a spec."""
    base, augmentation, distillation = config["base"], config["augmentation"], config["distillation"]
    settings = {
        "seed": base["seed"],
        "optimisation.epochs": base["num_epochs"],
        "optimisation.batch_size": base["batch_size"],
        "optimisation.learning_rate": base["learning_rate"],
        "optimisation.weight_decay": base["weight_decay"],
        "optimisation.patience_epochs": base["patience"],
        "optimisation.warmup_epochs": base["warmup_epochs"],
        "optimisation.grad_clip_norm": base["grad_clip"],
        "augmentation.crop_padding_px": augmentation["random_crop_padding"],
        "augmentation.auto_augment": "cifar10" if augmentation["auto_augment"] else "none",
        "augmentation.erase_prob": augmentation["random_erasing_prob"] if augmentation["random_erasing"] else 0.0,
        "augmentation.mixup_alpha": augmentation["mixup_alpha"],
        "augmentation.cutmix_alpha": augmentation["cutmix_alpha"],
        "objective.temperature": distillation["temperature"],
        "objective.label_smoothing": distillation["label_smoothing"],
    }
    if distillation["method"] == "standard_kd":
        weight = distillation["alpha"]
        return settings | {"objective.method": "kd", "objective.kd_weight": weight, "objective.ce_weight": 1 - weight}
    weights = {"objective.tckd_weight": distillation["dkd_alpha"], "objective.nckd_weight": distillation["dkd_beta"]}
    return settings | {"objective.method": distillation["method"]} | weights
