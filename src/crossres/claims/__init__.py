"""From claims and records to verdicts.

`paper/claims.yaml` and the records of a suite enter; an audit with one verdict per claim leaves. May import: `records`,
`suites`, `base`, `files`; never torch.
"""
