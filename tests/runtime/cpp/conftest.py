"""Programs that are built once for all tests, and networks that they load."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tenfold
from cpp_program import CHECKS, EXAMPLE, build, sanitizers
from session_folder import made_once


@pytest.fixture(scope="session")
def checks(tmp_path_factory):
    options = sanitizers(tmp_path_factory.mktemp("checks"))
    return made_once(tmp_path_factory, "checks", lambda program: build([CHECKS], program, "-rdynamic", *options))


@pytest.fixture(scope="session")
def deploy(tmp_path_factory):
    options = sanitizers(tmp_path_factory.mktemp("deploy"))
    return made_once(tmp_path_factory, "deploy", lambda program: build([EXAMPLE / "main.cc"], program, "-rdynamic", *options))


@pytest.fixture
def copy(tiny_artifact, tmp_path):
    return Path(shutil.copytree(tiny_artifact, tmp_path / "net"))


@pytest.fixture
def bundled(bundled_artifact, tmp_path):
    """A network whose kernels need workspaces, on several threads."""
    folder = Path(shutil.copytree(bundled_artifact, tmp_path / "bundled" / "net"))
    assert tenfold.load(folder).manifest.memory["workspaces"] > 0
    return folder
