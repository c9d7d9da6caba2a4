"""Verbs of the claims."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from crossres import files
from crossres.base import CrossresError
from crossres.options import File, Flag, Name, Output, Records, SuiteFile, Summary
from crossres.records.record import read_record
from crossres.suites.config import Config, chosen_suite
from crossres.suites.suite import load_suite


def audit(*, suite: SuiteFile, summary: Summary, records: Records, output: Output, claims: File | None = None) -> None:
    """Judge claims, and the suite's planned contrasts, by the records of a suite.

    Args:
        claims: YAML file of the claims; without it, the contrasts alone are judged.
    """
    from crossres.claims import audit as auditing
    from crossres.claims.claim import NO_CLAIMS, load_claims
    from crossres.records.summary import read_summary

    files.check_root()
    document = load_claims(claims) if claims else NO_CLAIMS
    audited = load_suite(suite)
    document.check(audited, (load_suite(path) for path in sorted(files.SUITES.glob("*.yaml"))))
    loaded = [read_record(path) for path in records]
    found = auditing.audit(audited, loaded, read_summary(summary, loaded), document)
    files.write_json(output, found.model_dump(mode="json"))


def claims(
    *,
    suite: Name = "paper",
    file: File | None = None,
    reasons: Flag = False,
    require: Annotated[list[str] | None, Parameter(metavar="ID=VERDICT")] = None,
    recorded: Flag = False,
) -> None:
    """Print the verdicts of an audit, and check them against required ones.

    Args:
        suite: Name or file of the suite whose audit to read.
        file: A claims.json to read instead.
        reasons: Also print the reason for each verdict.
        require: Fail unless this claim has this verdict; repeatable.
        recorded: Fail unless the verdicts are those recorded in paper/claims.yaml.
    """
    from crossres.claims.claim import load_claims
    from crossres.claims.finding import Audit, audit_text, required_verdicts

    if file is None:
        files.check_root()
    wanted = required_verdicts(require or [])
    path = file or files.audit_file(files.suite_dir(chosen_suite(Config(suite=suite)).suite))
    if not file and not path.exists():
        raise CrossresError(f"{path}: no such file; to make it: snakemake --cores 1 --config suite={suite} -- claims")
    found = Audit.parse(files.read_json(path), str(path))
    print(audit_text(found, reasons=reasons))
    if recorded:
        wanted = load_claims(files.CLAIMS).recorded(found.suite) | wanted
    if differing := found.mismatches(wanted):
        raise CrossresError(f"{path}: " + "; ".join(differing))
    if wanted:
        print(f"{len(wanted)} of {len(wanted)} required verdicts are as required")
