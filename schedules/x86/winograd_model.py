"""draft"""
from __future__ import annotations
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Blocking:
    outputs: int
    pixels: int
    vectors: int
    tiles: int
    blocks: int
    shared: bool
    parallel: bool = True

    def describe(self) -> list[int]:
        return [int(v) for v in astuple(self)]
