"""How long a command takes from a cold start: a new process, until it has ended. What needs no compiler must not wait for one.

    python tests/benchmarks/commands.py RESULTS.json

Each command is started in turns with the others, in a folder with a tiny network, an artifact and results of it. What it has imported by
its end says where the time goes. `table.py` puts the results into docs/commands.md.
"""
from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

REPEATS = 3
HEAVY = {"numpy": "NumPy", "onnx": "ONNX", "tvm_ffi": "TVM's runtime", "tvm": "TVM", "torch": "torch"}
# Of a user, beside --help of each command. Results of the first ones are read by those behind them.
WORK = (
    "--help", "--version", "compile --help", "quantize --help", "inspect net.onnx", "inspect art", "simplify net.onnx -o simple.onnx",
    "compress net.onnx -o small --energy 0.7", "compile net.onnx -o out", "verify art", "run art --input x.npy -o y.npz",
    "compare small small", "report small art -o page.html", "targets", "targets zen4", "doctor", "compile none.onnx -o none",
)  # fmt: skip
PROBE = """
import sys
sys.argv = ["tenfold", *sys.argv[1:]]
from tenfold.cli import main
try:
    main()
finally:
    print(*sys.modules, file=open("modules", "w"))
"""


def command_names() -> list[str]:
    """All commands of the command line, those of groups too."""
    from tenfold.cli import app

    groups = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    return [prefix + (each.name or each.callback.__name__) for prefix, group in groups for each in group.registered_commands]


def started(words: str, folder: Path) -> float:
    """Milliseconds of a command, a mistake of the user among them."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "tenfold", *words.split()], cwd=folder, capture_output=True, text=True)
    took = 1e3 * (time.perf_counter() - begin)
    if done.returncode not in (0, 2):
        sys.exit(f"tenfold {words}: {done.stderr}")
    return took


def loaded(words: str, folder: Path) -> list[str]:
    """What it has imported of what takes long to import."""
    subprocess.run([sys.executable, "-c", PROBE, *words.split()], cwd=folder, capture_output=True)
    modules = (folder / "modules").read_text(encoding="utf-8").split()
    return [name for name in HEAVY if name in modules]


def prepare(folder: Path) -> None:
    """A network, an input, and an artifact."""
    import numpy as np
    import onnx
    from conftest import tiny_network

    onnx.save(tiny_network(), folder / "net.onnx")
    np.save(folder / "x.npy", np.ones((1, 3, 8, 8), "float32"))
    started("compile net.onnx -o art", folder)


def measure() -> dict[str, Any]:
    """The results of all commands."""
    from tenfold.runner.bench.environment import describe_machine

    with tempfile.TemporaryDirectory(prefix="tenfold-start-") as name:
        folder = Path(name)
        os.environ["TENFOLD_CACHE"] = str(folder / "cache")
        prepare(folder)
        rows = [{"command": words, "loads": loaded(words, folder), "ms": []} for words in WORK]
        for _ in range(REPEATS):
            for row in rows:
                row["ms"].append(started(row["command"], folder))
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return {"date": now, "machine": describe_machine(()), "rows": rows}


def section(path: Path, markdown: Callable[[tuple[list[str], list[list[str]]]], str]) -> str:
    """The table of a file of results."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = [[f"`tenfold {row['command']}`", f"{median(row['ms']) / 1e3:.2f} s", ", ".join(HEAVY[name] for name in row["loads"])]
            for row in content["rows"]]
    machine = content["machine"]
    line = f"{machine['cpu']}, {machine['physical_cores']} cores; medians of {REPEATS} new processes each; {content['date'][:10]}."
    return f"{markdown((['command', 'from start to end', 'imports'], rows))}\n{line}\n"


def main() -> None:
    """Measure, print and write."""
    content = measure()
    for row in content["rows"]:
        print(f"{median(row['ms']):7.0f} ms  tenfold {row['command']:<45}{' '.join(row['loads'])}")
    Path(sys.argv[1]).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))  # what tests share
    main()
