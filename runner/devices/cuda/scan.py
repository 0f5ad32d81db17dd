"""Finding one's way in C text."""
from __future__ import annotations

OPEN, CLOSE = "([{", ")]}"


def closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` is closed."""
    depth = 0
    at = start
    while at < len(text):
        if text[at] == '"':
            at = _end_of_string(text, at)
        elif text[at] in OPEN:
            depth += 1
        elif text[at] in CLOSE:
            depth -= 1
            if not depth:
                return at
        at += 1
    raise ValueError("a bracket is not closed")


def split(text: str, separator: str) -> list[str]:
    """Split at a separator that stands in no bracket and in no string. ``::`` separates twice."""
    parts, depth, at, start = [], 0, 0, 0
    while at < len(text):
        character = text[at]
        if character == '"':
            at = _end_of_string(text, at)
        elif character in OPEN:
            depth += 1
        elif character in CLOSE:
            depth -= 1
        elif character == separator and not depth:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def _end_of_string(text: str, start: int) -> int:
    at = start + 1
    while text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at
