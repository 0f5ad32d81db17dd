"""Programs of NVIDIA's and of others that may be there or not."""
from __future__ import annotations

import glob
import importlib.util
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from .child import run

PLACES = ("/usr/local/cuda*/bin", "/opt/nvidia/nsight-compute/*", "/usr/local/cuda*/nsight-compute*", "/usr/local/cuda*/compute-sanitizer")
SECONDS = {"sanitize": 60, "profile": 50}
METRICS = ",".join([
    "gpu__time_duration.sum", "sm__throughput.avg.pct_of_peak_sustained_elapsed", "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed", "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "sm__warps_active.avg.pct_of_peak_sustained_active", "smsp__inst_executed.sum", "smsp__inst_executed_pipe_fma.sum",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum", "smsp__sass_inst_executed_op_local.sum", "launch__registers_per_thread",
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio",
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio",
])


class Absent(Exception):
    """A tool that a step needs is not there: the step is left out."""


def find(program: str) -> str | None:
    """The path of a program; None where it is not there."""
    found = [path for place in PLACES for path in sorted(glob.glob(f"{place}/{program}"), reverse=True)]
    return shutil.which(program) or (found[0] if found else None)


def need(program: str) -> str:
    """The path of a program; Absent where it is not there."""
    path = find(program)
    if path is None:
        raise Absent(f"{program} is not installed")
    return path


def torch_version() -> str | None:
    """The version of torch that is installed."""
    return metadata.version("torch") if importlib.util.find_spec("torch") else None


def lacks_torch() -> str:
    """Why torch can't be the rival here; empty where it can."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return "" if torch.cuda.is_available() else "torch sees no GPU"


def smi() -> str:
    """What nvidia-smi says of the GPU: clocks, power limit, driver."""
    fields = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,utilization.gpu"
    path = find("nvidia-smi")
    return run([path, f"--query-gpu={fields}", "--format=csv,noheader"], 20, capture=True)[1].strip() if path else "nvidia-smi is not there"


def one(name: str) -> list[str]:
    """The command that runs one case once, kernel by kernel."""
    return [sys.executable, str(Path(sys.argv[0]).resolve()), "--one", name]


def sanitize(tool: str, name: str) -> dict[str, Any]:
    """Run a case under compute-sanitizer."""
    code, said = run([need("compute-sanitizer"), "--tool", tool, "--error-exitcode", "9", *one(name)], SECONDS["sanitize"], capture=True)
    return {"clean": True} if code == 0 else {"error": f"exit code {code}", "said": said[-2000:]}


def profile(name: str) -> dict[str, Any]:
    """Run a case under ncu; what it measured of each kernel is kept as it says it, too."""
    command = [need("ncu"), "--csv", "--page", "raw", "--metrics", METRICS, "--target-processes", "all", *one(name)]
    code, said = run(command, SECONDS["profile"], capture=True)
    return {"csv": said[:20000]} if code == 0 else {"error": f"exit code {code}", "said": said[-2000:]}

