"""What `doctor` found, for people."""
from __future__ import annotations

from collections.abc import Iterator

from ...support.listing import Listing
from ..report import size
from .health import Finding, Health


def findings_table(health: Health) -> Listing:
    """One row for each thing that a machine may do, in its areas."""
    table = Listing(["can it", "what", "", "with what, or why not"], remark=True)
    area = None
    for finding in health.findings:
        if area not in (None, finding.area):
            table.add_section()
        row = finding.area if finding.area != area else "", finding.what, "yes" if finding.ok else "no"
        table.add_row(*row, _detail(finding), style="" if finding.ok else "bold")
        area = finding.area
    return table


def _detail(finding: Finding) -> str:
    return f"{finding.detail}, {finding.version}" if finding.version and finding.version not in finding.detail else finding.detail


def health_lines(health: Health) -> Iterator[str]:
    """Versions, peak, cache, how to get what is missing, and the line for a bug report."""
    yield f"versions  {', '.join(f'{name} {version}' for name, version in health.versions.items())}"
    if health.peak_gflops is None:
        yield "peak      could not be measured"
    else:
        cores = health.machine.get("physical_cores", "?")
        yield f"peak      {health.peak_gflops:.0f} GFLOP/s in float32 on {cores} cores, measured just now"
    cache = health.cache
    yield f"cache     {cache.folder}: {'' if cache.whole else 'more than '}{size(cache.bytes)} in {cache.files} files"
    wanted: dict[str, list[str]] = {}
    for finding in health.missing:
        if finding.install:
            wanted.setdefault(finding.install, []).append(f"{finding.area} {finding.what}")
    for command, what in wanted.items():
        yield f"to get    {', '.join(what)}: {command}"
    yield "for a bug report:"
    yield health.line
