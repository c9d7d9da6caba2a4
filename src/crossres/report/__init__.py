"""Everything a reader sees.

Records, their summary and the audit enter; figures, tables, LaTeX, PDF and HTML leave. May import: `claims`,
`records`, `suites`, `base`, `files`; never torch.
"""
