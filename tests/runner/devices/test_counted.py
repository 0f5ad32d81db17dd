"""What counts instructions under emulation: a small program whose counts are known."""
from __future__ import annotations

import shutil
import subprocess

import pytest
from tenfold.runner.devices import counted, emulated
from tenfold.runner.devices.counted import Block, Counts, counting_plugin, parse_counts
from tenfold.runner.devices.emulated import emulator_for
from tenfold.support.errors import TenfoldError
from tenfold.targets.architectures import this_architecture

# Compiler, an instruction of vectors and its code, and what ends a turn.
SETS = {
    "aarch64": ("aarch64-linux-gnu-gcc", "fmla v0.4s, v1.4s, v2.4s", "4e22cc20", "subs %0, %0, #1\\n b.ne 1b"),
    "x86_64": ("gcc", "addps %%xmm1, %%xmm0", "c1580f", "dec %0\\n jne 1b"),
}
# 1000 turns of a loop of three instructions, and one load from each of 2048 lines, twice what the first cache holds.
PROGRAM = r"""
#include <sys/prctl.h>
static char data[1 << 17] __attribute__((aligned(64)));
static void work(void) {
  long turns = 1000;
  __asm__ volatile("1: VECTOR\n BACK" : "+r"(turns) : : "cc");
  for (int i = 0; i < 1 << 17; i += 64) (void)*(volatile char*)(data + i);
}
int main(void) {
  work();
  prctl(0x54464e44, 1L, 0L, 0L, 0L); work();
  prctl(0x54464e44, 2L, 0L, 0L, 0L); work();
  prctl(0x54464e44, 0L, 0L, 0L, 0L); work();
}
"""


def lacks(architecture: str) -> str:
    emulator = emulator_for(architecture)
    if emulator is None or emulator.endswith("-static"):
        return f"there is no qemu-{architecture} that takes plugins"
    if architecture == "x86_64" != this_architecture():
        return "there is no compiler for x86-64"
    gcc, *_ = SETS[architecture]
    return "" if shutil.which(gcc) and shutil.which("cc") else f"there is no {gcc} or no cc"


@pytest.mark.parametrize("architecture", SETS)
def test_what_a_program_executes_and_misses(tmp_path, architecture):
    if lacks(architecture):
        pytest.skip(lacks(architecture))
    gcc, vector, code, back = SETS[architecture]
    (tmp_path / "work.c").write_text(PROGRAM.replace("VECTOR", vector).replace("BACK", back))
    subprocess.run([gcc, "-O1", "-static", "work.c", "-o", "work"], cwd=tmp_path, check=True)
    plugin = f"{counting_plugin(tmp_path)},out=counts,caches=64:4+256:8,line=64"
    subprocess.run([emulator_for(architecture), "-plugin", plugin, str(tmp_path / "work")], cwd=tmp_path, check=True)
    counts = parse_counts((tmp_path / "counts").read_text())
    # The first turn belongs to the block before the loop.
    loop = next(block for block in counts.blocks if block.code[0] == code and len(block.code) == 3)
    assert loop.runs == 999 and loop.end - loop.address == sum(map(len, loop.code)) // 2
    assert sum(block.runs for block in counts.blocks if code in block.code) == 1000
    # One pass over what is twice the first cache leaves nothing for the next: every line is missed. The second cache holds all.
    first, second = counts.misses
    assert 2048 <= first <= 2100 and second < 20
    assert 3000 + 2048 < counts.instructions < 3000 + 2048 * 8


def test_python_is_not_counted(monkeypatch):
    """What Python does besides a network would be counted too."""
    monkeypatch.setattr(emulated, "emulator_for", lambda architecture: "/bin/true")
    monkeypatch.setattr(counted, "counting_plugin", lambda: "plugin.so")
    monkeypatch.setattr(emulated, "device_program", refuse)
    assert emulated.Emulated(architecture=this_architecture()).command()
    with pytest.raises(TenfoldError, match="there is no compiler"):
        counted.Counted("max", this_architecture(), ()).command()


def refuse(architecture):
    raise TenfoldError("there is no compiler")


def test_counts_are_read():
    text = "2000 3 4e22cc20\n1000 17 4e22cc20 54ffffc1\nmisses 5 0\n"
    blocks = Block(0x1000, 17, ("4e22cc20", "54ffffc1")), Block(0x2000, 3, ("4e22cc20",))
    assert parse_counts(text) == Counts(blocks, (5, 0)) and parse_counts(text).instructions == 37


@pytest.mark.parametrize("text", ["", "1000 17 4e22cc20\n", "1000\nmisses 1\n", "x 1 4e22cc20\nmisses\n", "misses a\n"])
def test_what_is_no_counts(text):
    with pytest.raises(ValueError):
        parse_counts(text)


def test_a_machine_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(TenfoldError, match="no C compiler was found to build what counts"):
        counting_plugin(tmp_path)


def test_a_compiler_that_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(counted, "OPTIONS", ("-no-such-option",))
    monkeypatch.setenv("CC", "false")
    with pytest.raises(TenfoldError, match="the C compiler false failed"):
        counting_plugin(tmp_path)
    assert not list((tmp_path / "device").glob("*"))
