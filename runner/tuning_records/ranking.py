"""Which of several records of a workload, on one processor, is the best."""
from __future__ import annotations

from collections.abc import Iterable

from .index import Found
from .record import MEASURED


def ranked(found: Iterable[Found]) -> list[Found]:
    """Return one record of each point, the best ones first.

    Of several records of one point counts a measured one rather than a modelled one, then the user's own rather than one that is shipped,
    then the newest. Points are in the same order, but for the last: of these the first is the one that takes the smallest part of the time
    of the model's choice, which was timed in the same session. Times of several sessions can't be compared.
    """
    points: dict[str, Found] = {}
    for each in found:
        key = str(sorted(each.record.choice.items()))
        if key not in points or _age(each) <= _age(points[key]):
            points[key] = each
    return sorted(points.values(), key=lambda each: (*_source(each), each.record.ratio))


def _source(found: Found) -> tuple[bool, bool]:
    return found.record.how != MEASURED, found.is_shipped


def _age(found: Found) -> tuple[bool, bool, int]:
    return *_source(found), -int("".join(digit for digit in found.record.date if digit.isdecimal()))
