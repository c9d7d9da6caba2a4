"""Ratios measured side by side; `python -m benchmarks --help`."""
