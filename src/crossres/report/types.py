"""Types for annotations in figures and tables. Nothing is imported for them when the code runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
    from pandas import DataFrame as DataFrame

    from crossres.report.drawing.data import RunData as RunData
    from crossres.report.facts import Facts as Facts
else:
    Axes = Figure = DataFrame = RunData = Facts = object
