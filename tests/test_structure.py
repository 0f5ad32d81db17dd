"""The house: which room may import which, and that no two files import each other."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest
import tenfold

ROOT = Path(tenfold.__file__).parent
# Floors, from the ground up. A room imports from rooms on its own floor or below it, as long as that makes no circle.
FLOORS = [
    {"support"},
    {"targets", "factorization", "quantization"},
    {"schedules", "frontends"},
    {"passes", "runtime"},
    {"codegen"},
    {"runner"},
    {"tuning"},
    {"plots", "reports"},
    {"training"},
    {"search"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


FILES = {module_of(path): path for room in FLOOR for path in (ROOT / room).rglob("*.py")}


def imported(module: tuple[str, ...], path: Path) -> set[tuple[str, ...]]:
    """The modules of the package that a file imports, at once or when a function is called."""
    package = module if path.name == "__init__.py" else module[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = (*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else ()))
        for alias in node.names:
            found.add((*base, alias.name) if (*base, alias.name) in FILES else base)
    return found & FILES.keys()


def packages(nodes) -> set[str]:
    """The packages of others that some statements import."""
    nodes = list(nodes)
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.split(".")[0] for name in names}


def test_every_room_has_a_floor():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms == FLOOR.keys()


def test_no_import_runs_upward():
    upward = [f"{'.'.join(module)} imports {'.'.join(other)}" for module, path in FILES.items() for other in imported(module, path)
              if FLOOR[other[0]] > FLOOR[module[0]]]
    assert not upward


def test_no_two_files_import_each_other():
    """Also where an import waits until a function is called."""
    graph = {module: imported(module, path) - {module} for module, path in FILES.items()}
    done: set[tuple[str, ...]] = set()
    for start in graph:
        stack, trail = [(start, iter(sorted(graph[start])))], [start]
        while stack:
            module, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(module)
                stack.pop()
                trail.pop()
            elif following in trail:
                pytest.fail("a circle: " + " -> ".join(".".join(m) for m in [*trail[trail.index(following):], following]))
            elif following not in done:
                stack.append((following, iter(sorted(graph[following]))))
                trail.append(following)


def test_what_runs_artifacts_imports_no_compiler():
    """Neither `tvm` nor a room that builds kernels."""
    for module, path in FILES.items():
        if module[0] != "runtime":
            continue
        rooms = {other[0] for other in imported(module, path)}
        assert rooms <= {"runtime", "targets", "support"}, module
        assert "tvm" not in packages(ast.walk(ast.parse(path.read_text()))), module


def test_torch_is_imported_where_it_is_used():
    """Importing a room needs no torch, but for training and the parts of frontends that read torch's programs."""
    for module, path in FILES.items():
        if "torch" in packages(ast.parse(path.read_text()).body):
            assert module[0] == "training" or module[:2] == ("frontends", "reference"), module
