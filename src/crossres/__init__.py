"""Cross-resolution knowledge distillation: a run is a function of its spec, its data and its teacher.

The rooms, in the order in which data flows through them:

    suites     what to run: suite files, specs, the distillation methods
    training   spec + data + teacher → weights → record; the only room that needs torch
    records    one run's results as a JSON document, and a suite's as one table
    claims     claims + records → verdicts
    report     records + verdicts → figures, tables, LaTeX, PDF, HTML
    tools      what is run by hand: plan, status, watch, compare, ship, export

Below all of them stand `base` (typed documents, errors) and `files` (paths, atomic writes, JSON). On top stand
`workflow`, which answers the Snakemake rules, and `__main__`, the command line. An import never goes up.
"""

__version__ = "0.1.0"
