"""Seeded damage to files: to values and keys of JSON, and to bytes."""
from __future__ import annotations

import json

NUMBERS = (-1, 0, 1, 2, 255, 1 << 31, 1 << 32, 1 << 62, -(1 << 63), 1 << 64, 10**400, 0.5, 1e300, float("nan"), float("inf"))
VALUES = (*NUMBERS, None, True, "", "x" * 1000, "\u2028", "\ud800", [], {}, [[]] * 50, {"a": {"a": {}}})
BYTES = (b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 50000, b'{"a":' * 50000, b"9" * 5000, b"NaN", b"\n" * 100, bytes(range(256)))


def spots(value, path=()):
    """The paths to all values in a JSON document."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from spots(inner, (*path, key))


def mutate_json(text, rng):
    """Another value somewhere, a key dropped, renamed or doubled."""
    document = json.loads(text)
    path = rng.choice([spot for spot in spots(document) if spot])
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    kind = rng.randrange(4) if isinstance(holder, dict) else 0
    if kind == 0:
        holder[path[-1]] = rng.choice(VALUES)
    elif kind == 1:
        del holder[path[-1]]
    elif kind == 2:
        holder[f"{path[-1]}_"] = holder.pop(path[-1])
    else:
        return json.dumps(document).replace(json.dumps(path[-1]) + ":", f"{json.dumps(path[-1])}: 1, {json.dumps(path[-1])}:", 1)
    return json.dumps(document)


def mutate_bytes(content, rng):
    """Bytes flipped, cut out, put in or doubled; the end cut off."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 4))):
        at, size = rng.randrange(len(content) + 1), rng.choice((1, 2, 8, 100))
        kind = rng.randrange(5)
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[at : at + size]
        elif kind == 2:
            content[at:at] = rng.choice(BYTES)
        elif kind == 3:
            content[at:at] = content[at : at + size]
        else:
            del content[at:]
    return bytes(content)


def mutate_text(text, rng):
    return mutate_json(text, rng).encode() if rng.random() < 0.7 else mutate_bytes(text.encode(), rng)
