"""What the tests of the emulator share."""
from __future__ import annotations

import pytest
from tenfold.support.cache_folder import cache_folder


@pytest.fixture(scope="session")
def folder():
    """Where emulations are kept, for all processes that run tests: the machine is compiled once."""
    return cache_folder() / "cuda-emulator"
