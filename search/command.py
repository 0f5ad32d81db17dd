"""What ``tenfold compress`` does with its options, and the lines that it prints."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import TenfoldError
from ..factorization import METHODS
from ..runner.report import size
from .budget import OPTIONS, Budget
from .compress import ENERGY, compress
from .result_files import CURVE, MODEL, PICTURES, PLAN, REPORT
from .tables import compression_table, outcome_line, outcome_table

Options = Mapping[str, Any]
Progress = Callable[[str], None]


def by_recipe(
    model: str, output: Path, data: Path | None, recipe: Options, pareto: bool, say: Progress, **options: Any
) -> list[Any]:
    """Without a budget: by a plan, or by energy."""
    if pareto:
        raise TenfoldError(f"--pareto shows what a search found: give a budget too ({', '.join(OPTIONS.values())})")
    if recipe["plan"] is not None and (recipe["method"] is not None or recipe["energy"] is not None):
        raise TenfoldError("give either --plan or --method and --energy: a plan holds the method and ranks of every layer")
    chosen = {"method": recipe["method"] or "auto", "energy": ENERGY if recipe["energy"] is None else recipe["energy"]}
    done = compress(model, output, plan=recipe["plan"], data=data, progress=say, **chosen, **options)
    fewer = f"{done.params_before / done.params:.1f} times fewer parameters" if done.params else ""
    return [
        compression_table(done),
        f"{fewer}; outputs differ from the dense network's by up to {done.output_error:.2g} of the largest, on random inputs",
        f"wrote {output}: {MODEL} ({size(done.bytes)}), {PLAN}, {REPORT}",
    ]


def by_budget(
    model: str, output: Path, data: Path | None, bounds: Options, recipe: Options, search: Options, say: Progress, **reading: Any
) -> list[Any]:
    """With a budget: by a search. `search` holds ``target``, ``threads``, ``device``, ``cache`` and ``pareto``."""
    from .compress_within import compress_within, settings_for

    budget = Budget(**bounds)
    given = [f"--{name}" for name in ("plan", "energy") if recipe[name] is not None]
    if given:
        raise TenfoldError(f"give either a budget or {given[0]}: a budget chooses the ranks of every layer by itself")
    if data is None:
        raise TenfoldError("a budget needs data to calibrate with and to verify on: give --data D.npz with images x and labels y")
    where = dict(search)
    pareto = where.pop("pareto")
    settings = settings_for(**where, methods=_methods(recipe["method"]))
    done = compress_within(model, output, data, budget, settings=settings, pareto=pareto, progress=say, **reading)
    files = [PLAN, REPORT] + ([CURVE, *PICTURES] if pareto else [])
    return [
        outcome_table(done),
        outcome_line(done),
        f"wrote {output}: {MODEL} ({size(done.after.bytes)}), {', '.join(files)}; {done.seconds:.0f} s",
    ]


def _methods(names: str | None) -> tuple[str, ...] | None:
    """``"svd,cp"`` -> ``("svd", "cp")``."""
    if names is None or names == "auto":
        return None
    found = tuple(name.strip() for name in names.split(","))
    for name in found:
        if name not in METHODS:
            raise TenfoldError(f"--method: unknown method {name!r}: choose {', '.join(METHODS)}")
    return found
