"""Hundreds of damaged models: the command ends with 0, or with 1 or 2 and one line; no traceback, no signal, no hang, no noise."""
import importlib

import pytest
from command_checks import tenfold as command
from mutations import mutate
from seed_models import SEEDS
from tenfold.schedules.driver import STRICT_VARIABLE

MUTANTS = 30  # of each seed model
COMPILED = 2  # of them, of those that can be read


@pytest.fixture(autouse=True)
def as_a_user(monkeypatch):
    """Tests of schedules stop at a function that no rule is made for; for a user it is only slow."""
    monkeypatch.delenv(STRICT_VARIABLE, raising=False)


@pytest.fixture(scope="module", autouse=True)
def imported():
    """What the command imports is imported once, before it is forked."""
    for name in ("frontends", "frontends.relax.importer", "runner.inspect", "runner.compile", "runner.report", "passes.inventory"):
        importlib.import_module(f"tenfold.{name}")
    importlib.import_module("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_damaged_models(name, tmp_path):
    right, complaints, readable = SEEDS[name](), [], []
    for seed in range(MUTANTS):
        path = tmp_path / f"{name}_{seed}.onnx"
        path.write_bytes(mutate(right, seed))
        outcome = command("inspect", path)
        if outcome.complaint is not None:
            complaints.append(f"inspect, seed {seed}: {outcome.complaint}")
        elif outcome.code == 0:
            readable.append(path)
    for path in readable[:COMPILED]:
        outcome = command("compile", path, "-o", tmp_path / "artifact")
        if outcome.complaint is not None:
            complaints.append(f"compile, {path.name}: {outcome.complaint}")
    assert not complaints, "\n\n".join(complaints)


def test_the_seeds_themselves_are_right(tmp_path):
    """A mutant is refused for what is wrong with it, not for what is wrong with all of them."""
    for name, made in SEEDS.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(made().SerializeToString())
        outcome = command("inspect", path)
        assert outcome.code == 0 or (name == "sparse" and outcome.complaint is None), (name, outcome.err)


@pytest.mark.slow
def test_every_kind_of_damage_is_refused_sometimes(tmp_path):
    """The mutations do damage: of a hundred of one seed a fifth at least can't be read."""
    refused = 0
    for seed in range(100, 140):
        path = tmp_path / "mutant.onnx"
        path.write_bytes(mutate(SEEDS["plain"](), seed))
        refused += command("inspect", path).code == 2
    assert refused >= 8
