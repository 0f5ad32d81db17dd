"""Machines that are made up: devices that take a fixed time for what a candidate is, and builders that build nothing."""
from __future__ import annotations

import hashlib
import random
import threading
import time
from pathlib import Path

import numpy as np
from tenfold.runner.devices.device import Program
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.schedules.task import Task, TaskLayer
from tenfold.support.errors import TenfoldError


def conv_task(filters: int = 32, channels: int = 16, size: int = 14, kernel: int = 3) -> Task:
    geometry = ConvGeometry(filters, (kernel, kernel), padding=(kernel // 2,) * 4)
    return Task((TaskLayer(ConvWorkload(geometry, (size, size), channels, 1), ("relax.add", "relax.nn.relu")),), cut=("own",))


def chance(text: str) -> float:
    """A number from 0 to 1 that belongs to a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


class FakeBuilders:
    """Builds nothing: a program is the candidate's key. Some candidates can't be built."""

    def __init__(self, seconds: float = 0.0, broken: float = 0.0) -> None:
        self.seconds, self.broken = seconds, broken
        self.built = 0

    def build(self, task, candidates, folder):
        time.sleep(self.seconds * len(candidates))
        self.built += len(candidates)
        return [self._program(each.key, folder / str(i)) for i, each in enumerate(candidates)]

    def _program(self, key: str, folder: Path):
        if chance(f"broken {key}") < self.broken:
            return "it can't be compiled"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "key").write_text(key)
        return Program(folder, (), (), 1)


class FakeDevice:
    """Takes a time that belongs to the candidate; may lose candidates, or itself.

    Parameters
    ----------
    ms : callable
        Of a candidate's key.
    seconds : float
        That a measurement takes in real time.
    crashing : float
        Share of the candidates that end the process that runs them.
    dies_after : int, optional
        Measurements after which the device is gone.
    wrong : float
        Share of the candidates whose results are wrong.
    """

    is_real, name, cores = True, "fake", 1

    def __init__(self, ms, seconds=0.0, noise=0.002, crashing=0.0, dies_after=None, wrong=0.0, seed=0, hangs=0.0) -> None:
        self.ms, self.seconds, self.noise, self.crashing, self.dies_after, self.wrong = ms, seconds, noise, crashing, dies_after, wrong
        self.hangs = hangs
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.keys: dict[int, str] = {}
        self.count = self.loaded = 0
        self.alone = threading.Lock()
        self.closed = False

    def load(self, program, timed=None):
        self._check()
        self.loaded += 1
        self.keys[self.loaded] = (program.folder / "key").read_text()
        return self.loaded

    def time(self, handle, runs=None):
        if not self.alone.acquire(blocking=False):
            raise AssertionError("two threads at one device")
        try:
            self._check()
            self.count += 1
            time.sleep(self.seconds)
            key = self.keys[handle]
            if chance(f"crash {key}") < self.crashing:
                self.keys.clear()
                raise TenfoldError("device fake: its process died of SIGSEGV")
            return [self.ms(key) * self.random.gauss(1, self.noise)]
        finally:
            self.alone.release()

    def run(self, handle, inputs):
        return {"y": np.full(4, 2.0 if chance(f"wrong {self.keys[handle]}") < self.wrong else 1.0)}

    def drop(self, handle):
        self.keys.pop(handle, None)

    def close(self):
        self.closed = True

    def _check(self):
        if self.dies_after is not None and self.count >= self.dies_after:
            raise TenfoldError("device fake: it is gone")


def rugged(key: str) -> float:
    """Milliseconds between 1 and 2, by chance."""
    return 1 + chance(key)
