"""The `tenfold` command, one file for each verb. Everything heavy is imported inside the verbs, so that `--help` is instant."""
from . import inspect, simplify, compress, quantize, compile, tune, verify, run, serve, device, bench, compare, report, plot, targets, doctor  # noqa: A004, E501, F401, I001 - the order in which --help lists them
from .app import app, main

__all__ = ["app", "main"]
