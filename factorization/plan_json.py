"""The text of a plan: JSON that is pleasant to read and edit, and one-line errors where the editing went wrong."""
from __future__ import annotations

import json
from collections.abc import Callable
from typing import NoReturn

from ..support.errors import TenfoldError
from ..support.files.json_text import parse_json
from .choice import Choice
from .metrics import METRICS
from .registry import METHODS

VERSION = 1
INT8 = "int8"  # the only precision that a plan names: what it does not name is of float32
CORRECTIONS = ("none", "bias", "moments", "response", "fisher")
_FIELDS = ("version", "model", "target", "data", "correction", "layers", "precision", "refused")


def encode(
    model: str, target: str, layers: dict[str, Choice], refused: dict[str, str], data: str | None = None, correction: str = "none",
    precision: dict[str, str] | None = None,
) -> str:
    """Write a plan as JSON: two spaces of indent, a layer in each line, data, correction and precision only where there are any.

    Parameters
    ----------
    model : str
        SHA-256 of the network.
    target : str
        Name of the target.
    layers : dict of str to Choice
        In the order of the network.
    refused : dict of str to str
        The reason by layer.
    data : str, optional
        SHA-256 of the data that the plan was made with.
    correction : str
        One of `CORRECTIONS`.
    precision : dict of str to str, optional
        ``int8``, by layer.
    """
    choices = {name: {"method": c.method, "ranks": list(c.ranks), "metric": c.metric} for name, c in layers.items()}
    fields = {"version": json.dumps(VERSION), "model": json.dumps(model), "target": json.dumps(target)}
    if data is not None:
        fields["data"] = json.dumps(data)
    if correction != "none":
        fields["correction"] = json.dumps(correction)
    fields["layers"] = _lines(choices)
    if precision:
        fields["precision"] = _lines(precision)
    fields["refused"] = _lines(refused)
    return "{\n" + ",\n".join(f'  "{field}": {value}' for field, value in fields.items()) + "\n}\n"


def decode(text: str, source: str) -> dict:
    """The fields of a plan without its version; TenfoldError names ``source``, and the layer and field that are wrong."""

    def fail(what: str) -> NoReturn:
        raise TenfoldError(f"{source}: {what}")

    document = parse_json(text, source)
    if not isinstance(document, dict):
        fail("not a plan: a JSON object was expected")
    if "version" not in document:
        fail("not a plan: it has no field 'version'")
    if document["version"] != VERSION or isinstance(document["version"], bool):
        fail(f"version {document['version']!r} of the plan is unknown: this program reads version {VERSION}")
    for field in document:
        if field not in _FIELDS:
            fail(f"unknown field {field!r}: a plan has {', '.join(_FIELDS)}")
    fields = {}
    for field, kind in (("model", str), ("target", str), ("layers", dict), ("refused", dict)):
        if field not in document and field != "refused":
            fail(f"field {field!r} is missing")
        fields[field] = document.get(field, {})
        if not isinstance(fields[field], kind):
            fail(f"field {field!r} must be {'a string' if kind is str else 'an object'}")
    fields |= _data(document, fail)
    fields["layers"] = {name: _choice(entry, f"{source}: layer {name!r}") for name, entry in fields["layers"].items()}
    for name, reason in fields["refused"].items():
        if not isinstance(reason, str):
            fail(f"refused layer {name!r}: the reason must be a string")
    fields["precision"] = _precision(document, fields["data"], fail)
    return fields


def _precision(document: dict, data: str | None, fail: Callable[[str], NoReturn]) -> dict[str, str]:
    """By layer; steps come from data."""
    found = document.get("precision", {})
    if not isinstance(found, dict):
        fail("field 'precision' must be an object")
    for name, precision in found.items():
        if precision != INT8:
            fail(f"layer {name!r}: unknown precision {json.dumps(precision)}: it is {json.dumps(INT8)}, or the layer is left out")
    if found and data is None:
        fail("layers in int8 need data: field 'data' is missing")
    return found


def _data(document: dict, fail: Callable[[str], NoReturn]) -> dict:
    """The fields that a plan made without data need not have, checked against each other and the layers."""
    data, correction = document.get("data"), document.get("correction", "none")
    if data is not None and not isinstance(data, str):
        fail("field 'data' must be the SHA-256 of the calibration images, or null")
    if correction not in CORRECTIONS:
        fail(f"unknown correction {json.dumps(correction)}: choose {', '.join(CORRECTIONS)}")
    if correction != "none" and data is None:
        fail(f"correction {correction!r} needs data: field 'data' is missing")
    return {"data": data, "correction": correction}


def _choice(entry: object, where: str) -> Choice:
    if not isinstance(entry, dict):
        raise TenfoldError(f"{where}: an object with method and ranks was expected")
    for field in entry:
        if field not in ("method", "ranks", "metric"):
            raise TenfoldError(f"{where}: unknown field {field!r}: a layer has method, ranks, metric")
    for field in ("method", "ranks"):
        if field not in entry:
            raise TenfoldError(f"{where}: field {field!r} is missing")
    choice = Choice(entry["method"], (), entry.get("metric", "frobenius"))
    check_names(choice, where)
    ranks = entry["ranks"]
    if not isinstance(ranks, list) or not all(isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 for rank in ranks):
        raise TenfoldError(f"{where}: ranks {json.dumps(ranks)} must be a list of whole numbers of at least 1")
    return Choice(choice.method, tuple(ranks), choice.metric)


def check_names(choice: Choice, where: str) -> None:
    """TenfoldError, beginning with ``where``, for a method or metric that does not exist."""
    if not isinstance(choice.method, str) or choice.method not in METHODS:
        raise TenfoldError(f"{where}: unknown method {choice.method!r}: choose {', '.join(METHODS)}")
    if not isinstance(choice.metric, str) or choice.metric not in METRICS:
        raise TenfoldError(f"{where}: unknown metric {choice.metric!r}: choose {', '.join(METRICS)}")


def _lines(entries: dict) -> str:
    if not entries:
        return "{}"
    return "{\n" + ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items()) + "\n  }"
