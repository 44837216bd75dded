"""Benchmarks, each beside its bare limit measured in the same run: `python -m bench --help`."""
