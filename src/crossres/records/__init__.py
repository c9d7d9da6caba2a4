"""What a run leaves behind.

One JSON document per run and seed, its provenance, and the summary table of a suite. The logs of the thesis become
records here too. May import: `suites`, `base`, `files`; never torch at import.
"""
