"""Sources -> the text of a page. Every string that comes from a file is escaped, and shown without control characters."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..support.printable import printable
from .chart import Chart
from .curves import pareto
from .layers import LayerView, axes, layer_views
from .profiles import waterfalls
from .provenance import origin
from .sides import gains, sides
from .sources import Compressed, Source, benched_of, compiled_of, compressed_of

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Compression:
    """What the page shows of a result of `compress`. `index` makes names within the page unique."""

    index: int
    name: str
    gains: str
    curve: dict[str, Chart]
    layers: list[LayerView]
    axes: dict[str, str]


def render(sources: Sequence[Source]) -> str:
    """The page: HTML that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _thin((TEMPLATES / "script.js").read_text(encoding="utf-8"))
    page = environment.get_template("report.html").render(
        title=", ".join(source.name for source in sources),
        style=_safe((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=_safe(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sides=sides(sources),
        compressions=[_compression(index, source, sources) for index, source in enumerate(compressed_of(sources))],
        waterfalls=waterfalls(sources),
        origins=[origin(source) for source in sources],
        missing=_missing(sources),
    )
    return _thin(page)


def _compression(index: int, source: Compressed, sources: Sequence[Source]) -> Compression:
    return Compression(index, source.name, gains(source), pareto(source), layer_views(source, compiled_of(sources)), axes(source))


def _missing(sources: Sequence[Source]) -> list[str]:
    """What the page can't show, and what would let it."""
    rows = [row for source in benched_of(sources) for row in source.content["rows"]]
    found = []
    for source in compressed_of(sources):
        if not pareto(source):
            found.append(f"No curve of {source.name}: compress with a budget and --pareto writes one.")
        if not any(layer["spectra"] for layer in source.report["layers"]):
            found.append(f"No singular values of {source.name}: its report holds none; compress it again, or see tenfold plot spectra.")
        if source.report["before"]["ms"] is None:
            found.append(f"No times of {source.name}: it was factored without a budget; tenfold bench --json measures them.")
    if not rows:
        found.append("No measured times with their spread, no rivals: tenfold bench --json writes them.")
    elif not any(row["profile"] for row in rows):
        found.append("No profile: tenfold bench --profile --json measures where the time goes.")
    return found


def _thin(text: str) -> str:
    """Without indents, which would be a quarter of it. No string of the page's content has a line break."""
    return re.sub(r"\n\s+", "\n", text)


def _shown(value: Any) -> Any:
    """What an expression of the template becomes, before it is escaped."""
    return printable(value) if type(value) is str else value


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)
