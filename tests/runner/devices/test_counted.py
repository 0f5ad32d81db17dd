"""What counts instructions under emulation: a small program whose counts are known."""
from __future__ import annotations

import shutil
import subprocess

import pytest
from tenfold.runner.devices import counted
from tenfold.runner.devices.counted import Block, Counts, counting_plugin, parse_counts
from tenfold.runner.devices.emulated import emulator_for
from tenfold.support.errors import TenfoldError

GCC = "aarch64-linux-gnu-gcc"
# 1000 turns of a loop of three instructions, and one load from each of 2048 lines, twice what the first cache holds.
PROGRAM = r"""
#include <sys/prctl.h>
static char data[1 << 17] __attribute__((aligned(64)));
static void work(void) {
  long turns = 1000;
  __asm__ volatile("1: fmla v0.4s, v1.4s, v2.4s\n subs %0, %0, #1\n b.ne 1b" : "+r"(turns) : : "v0", "cc");
  for (int i = 0; i < 1 << 17; i += 64) (void)*(volatile char*)(data + i);
}
int main(void) {
  work();
  prctl(0x54464e44, 1L, 0L, 0L, 0L); work();
  prctl(0x54464e44, 2L, 0L, 0L, 0L); work();
  prctl(0x54464e44, 0L, 0L, 0L, 0L); work();
}
"""


def lacks() -> str:
    emulator = emulator_for("aarch64")
    if emulator is None or emulator.endswith("-static"):
        return "there is no qemu-aarch64 that takes plugins"
    return "" if shutil.which(GCC) and shutil.which("cc") else f"there is no {GCC} or no cc"


@pytest.mark.skipif(bool(lacks()), reason=lacks())
def test_what_a_program_executes_and_misses(tmp_path):
    (tmp_path / "work.c").write_text(PROGRAM)
    subprocess.run([GCC, "-O1", "-static", "work.c", "-o", "work"], cwd=tmp_path, check=True)
    plugin = f"{counting_plugin(tmp_path)},out=counts,caches=64:4+256:8,line=64"
    subprocess.run([emulator_for("aarch64"), "-plugin", plugin, str(tmp_path / "work")], cwd=tmp_path, check=True)
    counts = parse_counts((tmp_path / "counts").read_text())
    # The first turn belongs to the block before the loop.
    loop = next(block for block in counts.blocks if block.code[0] == "4e22cc20" and len(block.code) == 3)
    assert loop.runs == 999
    assert sum(block.runs for block in counts.blocks if "4e22cc20" in block.code) == 1000
    # One pass over what is twice the first cache leaves nothing for the next: every line is missed. The second cache holds all.
    first, second = counts.misses
    assert 2048 <= first <= 2100 and second < 20
    assert 3000 + 2048 < counts.instructions < 3000 + 2048 * 8


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
