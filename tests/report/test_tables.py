"""The tables: the thesis's printed figures to the last digit, means and intervals over seeds, three equal formats."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from crossres.base import CrossresError
from crossres.files import shipped_record, suite_file
from crossres.records.record import Record, read_record
from crossres.records.summary import NUMBER_COLUMNS, TEXT_COLUMNS, read_summary, summarise
from crossres.report import exhibits, tables
from crossres.report.latex import Latex, escape
from crossres.suites.suite import load_suite

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    suite = load_suite(ROOT / suite_file("published"))
    return [read_record(ROOT / shipped_record("published", run, seed)) for run, seed in suite.jobs()]


@pytest.fixture(scope="module")
def published(records: list[Record]) -> pd.DataFrame:
    return summarise(records)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_a_summary_is_read_back_with_every_column(published: pd.DataFrame, tmp_path: Path) -> None:
    (file := tmp_path / "summary.csv").write_text(published.to_csv(index=False))
    assert {*TEXT_COLUMNS, *NUMBER_COLUMNS} <= set(published.columns)
    assert list(read_summary(file).columns) == list(published.columns)


def test_all_experiments_prints_the_readme_figures(published: pd.DataFrame, tmp_path: Path) -> None:
    tables.write("all_experiments", published, tmp_path)
    rows = rows_of(tmp_path / "all_experiments.csv")
    printed = {row["thesis_id"]: (row["accuracy_pct"], row["gap_pct"], row["retention_pct"]) for row in rows}
    assert printed == {
        "v1": ("76.12", "0.53", "99.31"),
        "v2": ("76.19", "0.46", "99.40"),
        "v3": ("66.85", "9.80", "87.21"),
        "v3.1": ("75.63", "1.02", "98.67"),
        "v4": ("77.93", "6.46", "92.35"),
    }
    stopped = next(row for row in rows if row["thesis_id"] == "v3")
    assert (stopped["best_epoch"], stopped["epochs"], stopped["planned_epochs"]) == ("54", "84", "300")
    assert (stopped["method"], stopped["recipe"], stopped["train_minutes"]) == ("DKD (β = 8)", "strong", "124.9")


def test_results_summary_has_teachers_first_with_their_sizes(published: pd.DataFrame, tmp_path: Path) -> None:
    tables.write("results_summary", published, tmp_path)
    rows = rows_of(tmp_path / "results_summary.csv")
    teachers = [(row["run"], row["accuracy_pct"], row["parameters_millions"], row["compression"]) for row in rows[:2]]
    assert teachers == [("teacher_32", "76.65", "117.4", ""), ("teacher_64", "84.39", "117.4", "")]
    assert {(row["role"], row["parameters_millions"], row["compression"]) for row in rows[2:]} == {
        ("student", "20.3", "5.78")
    }
    assert rows[-1]["resolution"] == "64→32"


@pytest.mark.parametrize("name", exhibits.names("tables"))
def test_three_formats_print_the_same_digits(name: str, published: pd.DataFrame, tmp_path: Path) -> None:
    files = tables.write(name, published, tmp_path)
    assert [file.suffix for file in files] == [".csv", ".tex", ".md"]
    rows = rows_of(files[0])
    latex = [line for line in files[1].read_text(encoding="utf-8").splitlines() if "&" in line][1:]
    markdown = files[2].read_text(encoding="utf-8").splitlines()[2:]
    assert len(rows) == len(latex) == len(markdown)
    for row, tex, md in zip(rows, latex, markdown, strict=True):
        assert [part.strip() for part in md.strip("|").split("|")] == [text or "—" for text in row.values()]
        parts = [part.strip() for part in tex.removesuffix(r"\\").split("&")]
        expected = [str(escape(text or "—")) for text in row.values()]
        assert [part.removeprefix(r"\texttt{").removesuffix("}") for part in parts] == [
            part.removesuffix("}") if part.endswith("{}") else part for part in expected
        ]


def test_tables_survive_the_summary_as_a_csv_file(published: pd.DataFrame, tmp_path: Path) -> None:
    published.to_csv(tmp_path / "summary.csv", index=False)
    for name in exhibits.names("tables"):
        direct = tables.write(name, published, tmp_path / "direct")
        through = tables.write(name, pd.read_csv(tmp_path / "summary.csv"), tmp_path / "through")
        assert [file.read_bytes() for file in direct] == [file.read_bytes() for file in through]


def test_several_seeds_give_a_mean_and_a_t_interval(published: pd.DataFrame, tmp_path: Path) -> None:
    second = published.assign(seed=43, accuracy_pct=published["accuracy_pct"] + 1)
    third = published.assign(seed=44, accuracy_pct=published["accuracy_pct"] - 1)
    files = tables.write("results_summary", pd.concat([published, second, third]), tmp_path)
    row = rows_of(files[0])[0]
    # t(0.975, 2) = 4.302653, deviation 1, 3 seeds
    assert (row["seeds"], row["accuracy_pct"], row["accuracy_ci95_pct"]) == ("3", "76.65", f"{4.302653 / 3**0.5:.2f}")
    assert r"76.65 $\pm$ 2.48" in files[1].read_text(encoding="utf-8")
    assert "76.65 ± 2.48" in files[2].read_text(encoding="utf-8")


def test_a_run_that_teaches_none_and_has_no_teacher_is_alone(records: list[Record]) -> None:
    teacher = next(record for record in records if record.name == "teacher_32")
    spec = teacher.spec.model_copy(update={"run": "ce_32", "thesis_id": None})
    summary = summarise([*records, teacher.model_copy(update={"spec": spec})])
    roles = summary.set_index("run")["role"]
    assert roles[["teacher_32", "teacher_64", "kd_32", "ce_32"]].tolist() == ["teacher", "teacher", "student", "alone"]
    frame = tables.build("all_experiments", summary).frame
    assert frame["run"].tolist()[-1] == "ce_32"
    assert pd.isna(frame["gap_pct"].iloc[-1])


def test_a_table_without_rows_still_has_its_heads(published: pd.DataFrame, tmp_path: Path) -> None:
    teachers = published[published["role"] == "teacher"]
    for file in tables.write("all_experiments", teachers, tmp_path):
        assert "accuracy" in file.read_text(encoding="utf-8").lower()


def test_unknown_table_is_named(published: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(CrossresError, match="no table 'nothing'"):
        tables.write("nothing", published, tmp_path)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % & $x_1^2$ #", r"50 \% \& \$x\_1\textasciicircum{}2\$ \#"),
        (r"{a}\~", r"\{a\}\textbackslash{}\textasciitilde{}"),
        ("--cores", "-{}-cores"),
        ("β → λ ×", r"$\beta$ $\rightarrow$ $\lambda$ $\times$"),
        ("a\nb", "a b"),
        ("猫", r"\texttt{U+732B}"),
        (Latex(r"\emph{x}"), r"\emph{x}"),
    ],
)
def test_escape(text: str, latex: str) -> None:
    assert escape(text) == latex
