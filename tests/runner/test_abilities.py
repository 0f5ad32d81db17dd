"""What this machine can do for a target."""
from __future__ import annotations

import pytest
from tenfold.runner import abilities
from tenfold.runner.abilities import Ability, ability
from tenfold.targets import resolve


@pytest.fixture
def machine(monkeypatch):
    """An x86 machine with AVX2, a cross compiler and emulators."""
    monkeypatch.setattr("tenfold.targets.architectures.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("tenfold.runtime.requirements.cpu_flags", lambda: frozenset(resolve("zen3").features))
    monkeypatch.setattr(abilities, "compiles_for", lambda architecture: True)
    monkeypatch.setattr(abilities, "emulator_for", lambda name: f"qemu-{name}")
    return monkeypatch


@pytest.mark.parametrize(("name", "expected"), [
    ("zen3", Ability(True, True, True)), ("zen4", Ability(True, False, False)), ("raspberry-pi-4", Ability(True, False, True))])
def test_an_x86_machine(machine, name, expected):
    assert ability(resolve(name)) == expected


def test_without_compilers_and_emulators(machine):
    machine.setattr(abilities, "compiles_for", lambda architecture: False)
    machine.setattr(abilities, "emulator_for", lambda name: None)
    assert ability(resolve("cortex-a72")) == Ability(False, False, False)
