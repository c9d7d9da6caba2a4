"""The table of verbs. A verb is a function in its room's `commands.py`; it is imported when it is called."""

from __future__ import annotations

from cyclopts import App, Group, Parameter

from crossres import __version__

BY_HAND = Group("Run by hand", sort_key=1)
BY_WORKFLOW = Group("Run by the workflow", sort_key=2)

VERBS = (
    ("plan", BY_HAND, "tools", "Estimate what a suite takes: hours, memory, disk, and what its runs share."),
    ("status", BY_HAND, "tools", "Show the progress of every run of a suite."),
    ("watch", BY_HAND, "tools", "Draw the learning curves of a suite while it trains."),
    ("claims", BY_HAND, "claims", "Print the verdicts of an audit, and check them against required ones."),
    ("export", BY_HAND, "tools", "Write the best student as safetensors and ONNX, with a model card."),
    ("show-batch", BY_HAND, "tools", "Draw a training batch as the student and its teacher see it."),
    ("ship", BY_HAND, "tools", "Copy computed records into paper/records/, where no rule can overwrite them."),
    ("import-thesis", BY_HAND, "records", "Turn the logs of the thesis into the records of suite `published`."),
    ("readme", BY_HAND, "tools", "Update the figures and verdicts in the README."),
    ("docs", BY_HAND, "tools", "Write every generated file: the reference of the keys, and the JSON Schemas."),
    ("data", BY_WORKFLOW, "training", "Fetch, adopt or generate a data set, and verify it."),
    ("weights", BY_WORKFLOW, "training", "Fetch or adopt the ImageNet weights of a model, and verify them."),
    ("spec", BY_WORKFLOW, "suites", "Write the resolved spec of one run and seed."),
    ("logits", BY_WORKFLOW, "training", "Store a teacher's logits for every batch of a student's stream."),
    ("train", BY_WORKFLOW, "training", "Train one run, from its last checkpoint if there is one."),
    ("evaluate", BY_WORKFLOW, "training", "Evaluate a trained run, and write its record."),
    ("summary", BY_WORKFLOW, "records", "Collect the records of a suite in one table."),
    ("audit", BY_WORKFLOW, "claims", "Judge the claims of the thesis by the records of a suite."),
    ("table", BY_WORKFLOW, "report", "Write one table as CSV, LaTeX and Markdown."),
    ("figure", BY_WORKFLOW, "report", "Draw one figure as PDF and PNG."),
    ("tex", BY_WORKFLOW, "report", "Fill the template of the report."),
    ("pdf", BY_WORKFLOW, "report", "Compile the report."),
    ("pages", BY_WORKFLOW, "report", "Write the HTML pages and captions of `snakemake --report`."),
)
"""Name, group, room and line of help. `crossres NAME` calls the function NAME of `crossres.ROOM.commands`."""


def build_app() -> App:
    """Return the command line. Nothing of a room is imported yet."""
    app = App(
        "crossres",
        "Cross-resolution knowledge distillation: train, evaluate, audit and report.",
        version=f"crossres {__version__}",
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for order, (name, group, room, text) in enumerate(VERBS):
        function = name.replace("-", "_")
        app.command(f"crossres.{room}.commands:{function}", name=name, group=group, help=text, sort_key=order)
    app.register_install_completion_command(help="Install tab completion for your shell.")
    return app
