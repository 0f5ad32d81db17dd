"""CUDA C without one of its safeguards."""
from __future__ import annotations

import re
from collections.abc import Iterator

from tenfold.runner.devices.cuda.scan import closing, split

KERNEL = 'extern "C" __global__'


def faults(source: str) -> Iterator[tuple[str, str]]:
    """What is taken away, and the source without it: one of the barriers, commits, waits or conditions of its last kernel."""
    start = source.index("{", source.rindex(KERNEL))
    for match in re.finditer(r"__syncthreads\(\);|\w+_commit_group\(\);|\w+_wait_group_\d\(\);", source):
        if match.start() > start:
            yield match[0], source[:match.start()] + source[match.end():]
    for match in re.finditer(r"\bif \(", source):
        if match.start() > start:
            end = closing(source, match.end() - 1)
            yield source[match.start():end + 1], f"{source[:match.end()]}true{source[end:]}"
    for match in re.finditer(r"ptx_cp_async_legacy_pred\w+\(", source):
        if match.start() > start:
            end = closing(source, match.end() - 1)
            last = split(source[match.end():end], ",")[-1]
            yield f"predicate {last.strip()}", f"{source[:end - len(last)]} 1{source[end:]}"
