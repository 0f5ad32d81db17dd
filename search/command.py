"""What ``tenfold compress`` does with its options: what it shows, and the same for JSON."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..factorization import method_name
from ..runner.report import size
from ..support.errors import TenfoldError
from ..support.progress import Progress
from .budget import OPTIONS, Budget
from .compress import ENERGY, compress
from .result_files import CURVE, MODEL, PICTURES, PLAN, REPORT
from .store import cache_folder
from .tables import compression_table, outcome_line, outcome_table

Options = Mapping[str, Any]
Found = tuple[list[Any], dict[str, Any]]  # what is shown; the JSON


def by_recipe(
    model: str, output: Path, data: Path | None, recipe: Options, pareto: bool, say: Progress, **options: Any
) -> Found:
    """Without a budget: by a plan, or by energy."""
    if pareto:
        raise TenfoldError(f"--pareto shows what a search found: give a budget too ({', '.join(OPTIONS.values())})")
    if recipe["plan"] is not None and (recipe["method"] is not None or recipe["energy"] is not None):
        raise TenfoldError("give either --plan or --method and --energy: a plan holds the method and ranks of every layer")
    chosen = {"method": recipe["method"] or "auto", "energy": ENERGY if recipe["energy"] is None else recipe["energy"]}
    done = compress(model, output, plan=recipe["plan"], data=data, progress=say, **chosen, **options)
    fewer = f"{done.params_before / done.params:.1f} times fewer parameters" if done.params else ""
    shown = [
        compression_table(done),
        f"{fewer}; outputs differ from the dense network's by up to {done.output_error:.2g} of the largest, on random inputs",
        f"wrote {output}: {MODEL} ({size(done.bytes)}), {PLAN}, {REPORT}",
    ]
    return shown, {"output": str(output), "wrote": [MODEL, PLAN, REPORT], **done.to_dict()}


def by_budget(
    model: str, output: Path, data: Path | None, bounds: Options, recipe: Options, search: Options, say: Progress, **reading: Any
) -> Found:
    """With a budget: by a search. `search` holds ``target``, ``threads``, ``device``, ``silence``, ``cache`` and ``pareto``."""
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
    files = [MODEL, PLAN, REPORT] + ([CURVE, *PICTURES] if pareto else [])
    shown = [
        outcome_table(done),
        outcome_line(done),
        f"wrote {output}: {MODEL} ({size(done.after.bytes)}), {', '.join(files[1:])}; {done.seconds:.0f} s",
    ]
    return shown, {"output": str(output), "wrote": files, **done.to_dict()}


def kept(cache: Path | None) -> str:
    """What is left of a search that is stopped."""
    return f"everything measured so far is kept in {cache_folder(cache)}: run the same command again to go on from there"


def _methods(names: str | None) -> tuple[str, ...] | None:
    """``"svd,cp"`` -> ``("svd", "cp")``."""
    if names is None or names == "auto":
        return None
    try:
        return tuple(method_name(name) for name in names.split(","))
    except TenfoldError as error:
        raise TenfoldError(f"--method: {error}") from None
