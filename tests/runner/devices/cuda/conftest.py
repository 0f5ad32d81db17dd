"""What the tests of the emulator share."""
from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where emulations are kept, for all processes that run tests: the machine is compiled once."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if base.name.startswith("popen-") else base) / "emulation"
    shared.mkdir(exist_ok=True)
    return shared
