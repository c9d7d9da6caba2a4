"""Training objectives: one file per method, its hyperparameters, its loss and what the report says of it.

To add a method, write one file here with a subclass of `Method`. Suites can use it at once, and the shared tests check
it against the laws that it declares.
"""

from __future__ import annotations

import functools
import importlib
import operator
import pkgutil
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from crossres.suites.methods.base import Law, Method, Targets

__all__ = ["METHODS", "Law", "Method", "Objective", "Targets"]


def _find() -> tuple[type[Method], ...]:
    """Return the methods that are defined in the files of this folder, in their order."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    classes = [thing for module in modules for thing in vars(module).values() if isinstance(thing, type)]
    methods = {found for found in classes if issubclass(found, Method) and found is not Method}
    return tuple(sorted(methods, key=lambda method: (method.order, method.model_fields["method"].default)))


METHODS = _find()
if TYPE_CHECKING:
    Objective = Method
else:
    Objective = Annotated[functools.reduce(operator.or_, METHODS), Field(discriminator="method")]
