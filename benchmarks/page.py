"""Saved results → a table and a plot in the page of this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from crossres.files import BENCHMARKS

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def rows(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what was measured as (what, figures, ratio)."""
    found = []
    for name, part in document.get("throughput", {}).items():
        network, _, size_px = name.rpartition("@")
        each = ", ".join(f"{key} {value:,.0f}/s" for key, value in part.items())
        eager = next(key for key in part if "eager" in key)
        gain = f"{part[eager.replace('eager', 'one graph')] / part[eager]:.2f}×"
        found.append((f"`{network}` at {size_px} px, training", each, gain))
    if part := document.get("sharing"):
        each, (alone, *_) = ", ".join(f"{key} {value:,.0f}/s" for key, value in part.items()), part.values()
        found.append(
            ("runs of EfficientNet-Lite0 at 32 px on one GPU, all together", each, f"{max(part.values()) / alone:.2f}×")
        )
    if part := document.get("hours"):
        each = ", ".join(f"{mode} {value:.1f} h" for mode, value in part.items())
        found.append(
            ("suite `paper`, by the plan, by the teacher's logits", each, f"{part['live'] / part['auto']:.2f}×")
        )
    if part := document.get("pipeline"):
        each = ", ".join(f"{name} {value:.1f} µs" for name, value in part["us_per_image"].items())
        found.append(("input pipeline, per image", each, f"{part['ratio']:.1f}×"))
    if part := document.get("step"):
        each = ", ".join(f"{name} {value:.1f}/s" for name, value in part["images_per_s"].items())
        found.append(("student's step, logits stored", each, f"{part['ratio']:.2f}×"))
        found.append(("optimiser's step", "fused against default AdamW", f"{part['optimiser_ratio']:.2f}×"))
    for size_px, part in document.get("lite", {}).items():
        each = ", ".join(f"{name} {value:.1f}/s" for name, value in part["images_per_s"].items())
        found.append((f"EfficientNet-Lite0's step at {size_px} px, logits stored", each, f"{part['ratio']:.2f}×"))
    for size_px in (32, 64):
        if part := document.get(f"students_{size_px}"):
            each = ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in part["s_per_step"].items())
            found.append((f"one student, {size_px} px teacher", each, f"{part['one_student']:.2f}×"))
            found.append((f"four students, {size_px} px teacher", "one stored pass", f"{part['four_students']:.2f}×"))
    if part := document.get("workers"):
        each = ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in part["s_per_step"].items())
        found.append(("one student, 32 px teacher, by the clock", each, f"{part['ratio']:.2f}×"))
    if part := document.get("seeds"):
        saved = [part["live"][-1] / part[name][-1] for name in ("stored", "stored, same batches")]
        text = "suite `paper`, five seeds of its students, by the plan: stored logits; and with the same batches"
        found.append((text, "against live logits", f"{saved[0]:.2f}×; {saved[1]:.2f}×"))
    if part := document.get("memory"):
        each = ", ".join(f"{run} {value:.0f} MiB" for run, value in part.items())
        found.append(("peak memory, jobs of `demo`", each, ""))
    if part := document.get("startup"):
        each = ", ".join(f"`{verb}` {value:.2f} s" for verb, value in part.items())
        found.append(("start-up, processor time", each, ""))
    return found


def table(document: dict[str, Any]) -> str:
    """Return the results as a table in Markdown."""
    return tabulate(rows(document), headers=("what", "medians", "ratio"), tablefmt="github")


def write() -> None:
    """Write every saved result into the page, and draw the cost of several students."""
    sections = []
    for path in sorted(BENCHMARKS.glob("*.json")):
        document = json.loads(path.read_text())
        plot = draw(document, path.with_suffix(".svg"))
        versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
        origin = f"`{document['command']}` on {document['device']}, {document['threads']} thread; {versions}."
        picture = f"\n\n![Cost by number of students]({BENCHMARKS.name}/{plot.name})" if plot else ""
        sections.append(f"### {document['device']}\n\n{origin}\n\n{table(document)}{picture}")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(sections) + f"\n\n{END}{after}")


def draw(document: dict[str, Any], path: Path) -> Path | None:
    """Draw how the cost grows with the number of students that share a teacher and a stream."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    parts = {size_px: document[f"students_{size_px}"] for size_px in (32, 64) if f"students_{size_px}" in document}
    if not parts:
        return None
    with rc_context({"svg.hashsalt": "crossres", "font.size": 9}):
        columns = len(parts) + ("seeds" in document)
        figure = Figure(figsize=(3.2 * columns, 2.8), layout="constrained")
        for place, (size_px, part) in enumerate(parts.items(), start=1):
            axes, costs = figure.add_subplot(1, columns, place), part["by_students"]
            for name, style in (("framework", "k--"), ("live", "C0o-"), ("stored", "C2s-")):
                axes.plot(costs["students"], costs[name], style, markersize=3, label=name)
            axes.set(xlabel="students of one stream", title=f"{size_px} px teacher", ylim=(0, None))
            axes.set_ylabel("cost in framework steps" if place == 1 else "")
            axes.legend(frameon=False)
        if "seeds" in document:
            axes, costs = figure.add_subplot(1, columns, columns), document["seeds"]
            for name in ("live", "stored", "stored, same batches"):
                axes.plot(costs["seeds"], costs[name], "o-", markersize=3, label=name)
            axes.set(xlabel="seeds of the students", title="suite paper, by the plan", ylim=(0, None))
            axes.set_ylabel("cost in suites of one seed, live")
            axes.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})
    return path
