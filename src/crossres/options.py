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


Integer = Annotated[int, Parameter(converter=_whole_number)]
Count = Annotated[int, Parameter(converter=_whole_number, validator=validators.Number(gte=1))]
Seconds = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=86_400))]

Data = Annotated[Path, Parameter(help="Folder of the data sets.")]
Device = Annotated[Literal["auto", "cuda", "cpu"], Parameter(env_var="CROSSRES_DEVICE", help="Where to compute.")]
Threads = Annotated[Count, Parameter(help="CPU threads; another number changes the trained bits.")]
SpecFile = Annotated[Path, Parameter(name="--spec", help="Resolved spec of the run.")]

SuiteName = Annotated[str, Parameter(help="Name of a suite, or path of a suite file.")]
SuiteFile = Annotated[Path, Parameter(name="--suite", help="YAML file of the suite.")]
Runs = Annotated[list[str] | None, Parameter(name="--run", help="Only this run; can be given several times.")]

Records = Annotated[list[Path], Parameter(consume_multiple=(1, None), help="Records of the suite.")]
Summary = Annotated[Path, Parameter(help="The suite's summary.csv.")]
AuditFile = Annotated[Path, Parameter(name="--claims", help="The suite's claims.json.")]
Output = Annotated[Path, Parameter(help="File to write.")]
OutputDir = Annotated[Path, Parameter(help="Folder to write to.")]
