"""The former name of `crossres.report.exhibits`."""

from crossres.report.exhibits import KINDS, load, module_file, names

__all__ = ["KINDS", "check_name", "module_file", "names"]

check_name = load
