"""Candidates compiled in processes that stay: one that crashes or hangs costs its candidate, and the process is started again."""
from __future__ import annotations

import contextlib
import json
import pickle
import queue
import select
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from ..runner.devices.device import Program
from ..schedules.task import Task
from ..targets import Target
from .build_worker import Request
from .candidates import Candidate

LIMIT = 120.0  # seconds for one candidate
START = 120.0  # seconds until the compiler is imported
WORKER = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"


class Worker:
    """One process of `build_worker`. It starts when it is first needed, and again when it has ended."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None

    def build(self, request: Request) -> Program | str:
        """Return what was built, or why it was not."""
        try:
            process = self._started()
            assert process.stdin is not None
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            return self._answer(process, self._limit)
        except TimeoutError:
            self._end()
            return f"it takes more than {self._limit:g} s to compile"
        except (OSError, EOFError, pickle.UnpicklingError):
            return f"the compiler's process ended ({self._end()})"

    def close(self) -> None:
        """End the process."""
        self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-c", WORKER.format(module=f"{__package__}.build_worker"), json.dumps(sys.path)]
            # An interrupt at the keyboard is for the tuner, which ends this process.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                             start_new_session=True)
            self._answer(self._process, START)
        return self._process

    @staticmethod
    def _answer(process: subprocess.Popen[bytes], limit: float) -> Any:
        answers: IO[bytes] | None = process.stdout
        assert answers is not None
        if not select.select([answers], [], [], limit)[0]:
            raise TimeoutError
        return pickle.load(answers)

    def _end(self) -> str:
        """End the process; says how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "it could not be started"
        with contextlib.suppress(OSError):
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        if process.poll() is None:
            process.kill()
        code = process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


class Builders:
    """Several workers. May be used by several threads at once.

    Parameters
    ----------
    target : Target
    count : int
        Processes.
    limit : float
        Seconds for one candidate.
    """

    def __init__(self, target: Target, count: int, limit: float = LIMIT) -> None:
        self._target = target
        self._workers = [Worker(limit) for _ in range(count)]
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._pool = ThreadPoolExecutor(count)

    def build(self, task: Task, candidates: Sequence[Candidate], folder: Path) -> list[Program | str]:
        """Build candidates, each in a folder of its own within `folder`; what was built of each, or why it was not."""
        requests = [Request(task, self._target, each, folder / str(number)) for number, each in enumerate(candidates)]
        return list(self._pool.map(self._build, requests))

    def close(self) -> None:
        """End all processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Builders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _build(self, request: Request) -> Program | str:
        worker = self._free.get()
        try:
            return worker.build(request)
        finally:
            self._free.put(worker)
