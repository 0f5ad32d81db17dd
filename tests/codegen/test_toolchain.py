"""The compiler for each architecture: found, named in the environment, or told to be installed."""
from __future__ import annotations

import pytest
from tenfold.codegen import toolchain
from tenfold.codegen.toolchain import cpp_compiler, options_for
from tenfold.support.errors import TenfoldError
from tenfold.targets import architectures, resolve
from tenfold.targets.architectures import AARCH64, X86_64


@pytest.fixture
def on_x86(monkeypatch):
    monkeypatch.setattr(architectures.platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("TENFOLD_CXX_AARCH64", raising=False)


def test_a_cross_compiler_is_found(on_x86, monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert cpp_compiler(AARCH64) == "aarch64-linux-gnu-g++"


def test_a_missing_cross_compiler_is_named_with_its_package(on_x86, monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    with pytest.raises(TenfoldError, match=r"apt install g\+\+-aarch64-linux-gnu\), or name one in TENFOLD_CXX_AARCH64"):
        cpp_compiler(AARCH64)


def test_the_environment_names_a_compiler(on_x86, monkeypatch):
    monkeypatch.setenv("TENFOLD_CXX_AARCH64", "clang-for-arm")
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: name)
    assert cpp_compiler(AARCH64) == "clang-for-arm"
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    with pytest.raises(TenfoldError, match="'clang-for-arm', which TENFOLD_CXX_AARCH64 names, is no program"):
        cpp_compiler(AARCH64)


def test_on_a_board_the_compiler_is_its_own(monkeypatch):
    monkeypatch.setattr(architectures.platform, "machine", lambda: "aarch64")
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None if name == "g++" else f"/usr/bin/{name}")
    assert cpp_compiler(AARCH64) == cpp_compiler() == "/usr/bin/gcc"
    monkeypatch.setenv("CC", "cc1")
    monkeypatch.setenv("CXX", "my-g++")
    assert cpp_compiler() == "my-g++"
    assert cpp_compiler(X86_64) == "x86-64-linux-gnu-g++"


def test_options_are_those_of_the_target():
    assert options_for(resolve("zen3")) == ("-mavx2",) and options_for(resolve("cortex-a72")) == ("-march=armv8-a",)
