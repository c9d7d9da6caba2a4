"""Options that several verbs share, and the checks of their values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, Token, validators


def _whole_number(_: type, tokens: Sequence[Token]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:  # cyclopts itself would round 1.5 to 2
        raise ValueError(f"'{tokens[0].value}' is not a whole number") from None


File = Annotated[Path, Parameter(metavar="FILE")]
Folder = Annotated[Path, Parameter(metavar="DIR")]
PathName = Annotated[str, Parameter(metavar="PATH")]
Name = Annotated[str, Parameter(metavar="NAME")]
Integer = Annotated[int, Parameter(converter=_whole_number, metavar="N")]
Count = Annotated[Integer, Parameter(validator=validators.Number(gte=1))]
Flag = Annotated[bool, Parameter(show_default=False)]
Seconds = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=86_400), metavar="SECONDS")]

Spec = Annotated[File, Parameter(help="Resolved spec of the run.")]
Data = Annotated[Folder, Parameter(env_var="CROSSRES_DATA", help="Folder of the data sets.")]
Device = Annotated[Literal["auto", "cuda", "cpu"], Parameter(env_var="CROSSRES_DEVICE", help="Device to compute on.")]
Threads = Annotated[Count, Parameter(help="CPU threads; another number changes the trained bits.")]
Output = Annotated[File, Parameter(help="File to write.")]
OutputDir = Annotated[Folder, Parameter(help="Folder to write to.")]

SuiteName = Annotated[Name, Parameter(help="Name of a suite, or path of a suite file.")]
Runs = Annotated[list[str] | None, Parameter(name="--run", metavar="NAME", help="Only this run; repeatable.")]
SuiteFile = Annotated[File, Parameter(help="YAML file of the suite.")]
Records = Annotated[list[Path], Parameter(consume_multiple=(1, None), metavar="FILE", help="Records of the suite.")]
Summary = Annotated[File, Parameter(help="The suite's summary.csv.")]
Audit = Annotated[File, Parameter(help="The suite's claims.json.")]
