"""What LLVM makes of a target, found out in a process of its own: LLVM ends the process where it can't compile for a CPU."""
from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from typing import Any

from ..support.errors import TenfoldError
from .light_import import import_tvm

SECONDS = 300.0
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main(sys.argv[2])"
FATAL = "LLVM ERROR: "


def trial_features(spec: dict[str, Any]) -> frozenset[str]:
    """LLVM's features for a TVM target (dict form) after a small kernel was compiled for it, in another process; remembered.

    Raises
    ------
    TenfoldError
        LLVM can't compile for it; the message says what LLVM said.
    """
    return _features(json.dumps({name: value for name, value in spec.items() if name != "num-cores"}))


@functools.lru_cache(maxsize=256)
def _features(spec: str) -> frozenset[str]:
    command = [sys.executable, "-c", CHILD.format(module=__name__), json.dumps(sys.path), spec]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise TenfoldError(f"LLVM did not compile a small kernel for the target {spec} in {SECONDS:.0f} s") from None
    if done.returncode == 0:
        return frozenset(json.loads(done.stdout.splitlines()[-1]))
    raise TenfoldError(f"LLVM can't compile for the target {spec}: {_reason(done)}")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    fatal = next((line.partition(FATAL)[2] for line in lines if FATAL in line), None)
    if fatal:
        return fatal
    if done.returncode < 0:
        return f"it crashes ({signal.Signals(-done.returncode).name})"
    return lines[-1] if lines else f"exit code {done.returncode}"


def main(spec: str) -> None:
    """The child: compile, and print the features as JSON."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tvm = import_tvm()
    from tvm import te

    from .llvm import cpu_features

    target = json.loads(spec)
    x = te.placeholder((64,), "float32", name="x")
    kernel = te.create_prim_func([x, te.compute((64,), lambda i: te.exp(x[i] * x[i] + x[i]), name="y")])
    tvm.tirx.build(tvm.IRModule({"main": kernel}), target=tvm.target.Target(target))
    print(json.dumps(sorted(cpu_features(target))))
