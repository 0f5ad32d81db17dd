"""What networks are timed on: this machine, or another one in a session."""
from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...runner.bench.timed_module import KERNELS, NETWORK, Burst, load_burst
from ...runner.build import build_library, describe_target
from ...runtime.artifact import check_cpu
from ...runtime.manifest import LIBRARY, WEIGHTS
from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder

if TYPE_CHECKING:
    import tvm

    from ...frontends.network import TensorSpec
    from ...runner.devices.session import Session
    from ...targets import Target


class Device(Protocol):
    """Compiles modules and gives back bursts: functions that run the module a few times and return the median, in milliseconds.

    `kernels` leaves out what a call takes besides its kernels, `network` is the whole call.
    """

    def kernels(self, mod: tvm.IRModule) -> Burst: ...

    def network(self, mod: tvm.IRModule) -> Burst: ...


class Host:
    """This machine.

    Parameters
    ----------
    target : Target
        Code for it must run here; its `cores` are the threads.

    Raises
    ------
    TenfoldError
        This machine lacks what the target's code needs.
    """

    def __init__(self, target: Target) -> None:
        try:
            check_cpu(f"target {target.name}", describe_target(target))
        except TenfoldError as error:
            raise TenfoldError(f"{error}: candidates can't be timed here; give --device HOST:PORT to time them there") from None
        self.target = target

    def kernels(self, mod: tvm.IRModule) -> Burst:
        return self._load(mod, KERNELS)

    def network(self, mod: tvm.IRModule) -> Burst:
        return self._load(mod, NETWORK)

    def _load(self, mod: tvm.IRModule, part: str) -> Burst:
        with _built(mod, self.target) as built:
            return load_burst(built.folder, built.inputs, built.kernels, self.target.cores, part)


class Remote:
    """A device that runs ``tenfold serve``: compiled here, run there.

    Parameters
    ----------
    target : Target
        Code for it must run on the device; its `cores` are the threads.
    session : Session

    Raises
    ------
    TenfoldError
        The device lacks what the target's code needs; later, the session has ended.
    """

    def __init__(self, target: Target, session: Session) -> None:
        session.ask("check", target=describe_target(target))
        self.target = target
        self.session = session
        self._names = (f"module{number}" for number in itertools.count())

    def kernels(self, mod: tvm.IRModule) -> Burst:
        return self._load(mod, KERNELS)

    def network(self, mod: tvm.IRModule) -> Burst:
        return self._load(mod, NETWORK)

    def _load(self, mod: tvm.IRModule, part: str) -> Burst:
        session, name = self.session, next(self._names)
        with _built(mod, self.target) as built:
            for file in (LIBRARY, WEIGHTS):
                session.send(built.folder / file, f"{name}/{file}")
        options = {"inputs": [asdict(each) for each in built.inputs], "kernels": sorted(built.kernels), "threads": self.target.cores}
        module = session.ask("load", folder=name, part=part, **options)

        def burst() -> float:
            return session.ask("time", module=module)

        weakref.finalize(burst, session.drop, module).atexit = False
        return burst


@dataclass(frozen=True)
class _Built:
    """A compiled module: the folder of its files, its inputs, the names of its kernels."""

    folder: Path
    inputs: list[TensorSpec]
    kernels: frozenset[str]


@contextlib.contextmanager
def _built(mod: tvm.IRModule, target: Target) -> Iterator[_Built]:
    with TemporaryFolder() as folder:
        built = build_library(mod, target, folder)
        yield _Built(folder, _specs(mod), frozenset(kernel["function"] for kernel in built.kernels))


def _specs(mod: tvm.IRModule) -> list[TensorSpec]:
    from ...frontends.network import TensorSpec

    params = mod["main"].params
    return [TensorSpec(param.name, tuple(int(size) for size in param.ty.shape.values), str(param.ty.dtype)) for param in params]
