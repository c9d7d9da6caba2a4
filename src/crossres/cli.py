"""The table of verbs: each is a function of its room's `commands.py`, imported when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.exceptions import MissingArgumentError, UnknownCommandError, UnusedCliTokensError
from cyclopts.help import DefaultFormatter, HelpPanel
from cyclopts.help import specs as layout

from crossres import __version__
from crossres.base import nearest

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

VERBS = {
    "Run by hand": (
        "tools.new",
        "tools.plan",
        "tools.status",
        "tools.watch",
        "claims.claims",
        "tools.export",
        "tools.show_batch",
        "tools.compare",
        "tools.ship",
        "tools.deposit",
        "records.import_thesis",
        "tools.docs",
    ),
    "Run by the workflow": (
        "training.data",
        "training.weights",
        "suites.spec",
        "training.logits",
        "training.train",
        "records.adopt",
        "training.evaluate",
        "records.summary",
        "claims.audit",
        "report.table",
        "report.figure",
        "report.tex",
        "report.pdf",
        "report.arxiv",
        "report.pages",
    ),
}
"""ROOM.FUNCTION of each verb; the function's signature and docstring are its options and help."""


class PlainSections(DefaultFormatter):
    """Help as a title and aligned columns per section, without frames."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one section, if it has entries."""
        if not panel.entries:
            return
        commands = panel.format == "command"
        columns = layout.get_default_command_columns if commands else layout.get_default_parameter_columns
        style = layout.TableSpec(padding=(0, 0, 0, 2), pad_edge=True)
        table = style.build(columns(console, options, panel.entries), panel.entries)
        console.print(f"[bold]{panel.title}[/bold]", layout.DefaultStyled(table), "", sep="\n")


def build_app(load: bool = False) -> App:
    """Return the command line.

    Args:
        load: Import every verb, so that the help can describe it; otherwise a verb is imported when it is called.
    """
    app = App(
        "crossres",
        "Cross-resolution knowledge distillation: train, evaluate, audit, report.",
        version=f"crossres {__version__}",
        default_parameter=Parameter(negative=(), allow_repeating=True),  # the last one wins, or is added to a list
        group_commands=Group("Options", sort_key=3),
        group_arguments=Group("Arguments", sort_key=1),
        group_parameters=Group("Options", sort_key=2),
        help_formatter=PlainSections(),
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for title, verbs in VERBS.items():
        group = Group(title, sort_key=list(VERBS).index(title))
        for order, verb in enumerate(verbs):
            room, _, function = verb.partition(".")
            name = function.replace("_", "-")
            app.command(f"crossres.{room}.commands:{function}", name=name, group=group, sort_key=order)
    app.register_install_completion_command(help="Install tab completion for your shell.")
    if load:
        app.resolved_commands()
    return app


def usage_error(error: CycloptsError) -> str:
    """Return one line that names a wrong verb or option, and the nearest right one."""
    verb = " ".join(error.command_chain or ())
    words = error.unused_tokens or []
    match error:
        case UnknownCommandError():
            known = (function.partition(".")[2].replace("_", "-") for verbs in VERBS.values() for function in verbs)
            return f"no verb '{words[0]}'{nearest(words[0], known)}"
        case UnusedCliTokensError():
            return f"{verb}: too many arguments: {' '.join(words)}"
        case MissingArgumentError(argument=argument) if argument and not argument.tokens:
            return f"{verb} needs {argument.name}; see: crossres {verb} --help"
    return " ".join(str(error).split())
