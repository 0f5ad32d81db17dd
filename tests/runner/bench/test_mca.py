"""LLVM's tools: what they say is read right, machine code becomes text, and blocks that were cut are joined."""
from __future__ import annotations

from pathlib import Path

import pytest
from modelled_checks import lacks_llvm
from tenfold.runner.bench import mca
from tenfold.runner.bench.instructions import AARCH64, NOTHING, X86_64
from tenfold.runner.devices.counted import Block
from tenfold.support.errors import TenfoldError

SAMPLE = Path(__file__).with_name("mca_19.json")  # of llvm-mca 19.1.7 -mcpu=cortex-a72, 200 turns of two blocks
FMLA, LOAD, SUBTRACT, BACK = "4e22cc20", "3cc10400", "f1000421", "54ffffc1"  # fmla v0.4s...; ldr q0, [x0], #16; subs x1, x1, #1; b.ne


needs_llvm = pytest.mark.skipif(bool(lacks_llvm()), reason=lacks_llvm())


def test_what_llvm_says_is_read():
    assert mca.parse_cycles(SAMPLE.read_text()) == [809 / 200, 1003 / 200]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"CodeRegions": [{}]}', '{"CodeRegions": [{"SummaryView": {"Iterations": 1}}]}'])
def test_what_llvm_does_not_say(text):
    with pytest.raises(TenfoldError, match="llvm-mca's answer can't be read"):
        mca.parse_cycles(text)


def test_blocks_that_were_cut_are_joined():
    first, second, jump = Block(0x1000, 9, (FMLA, LOAD)), Block(0x1008, 9, (SUBTRACT, BACK)), Block(0x1010, 9, (FMLA,))
    joined = Block(0x1000, 9, (FMLA, LOAD, SUBTRACT, BACK))
    assert mca.joined([jump, second, first], BACK.__eq__) == [joined, jump]
    other = Block(0x1008, 8, second.code)
    assert mca.joined([first, other], BACK.__eq__) == [first, other]


def test_instructions_of_several_lengths_are_joined_too():
    first, second = Block(0x1000, 9, ("c158fcc5", "40c08348")), Block(0x1008, 9, ("90",))
    assert mca.joined([second, first], "none".__eq__) == [Block(0x1000, 9, (*first.code, "90"))]


@needs_llvm
@pytest.mark.parametrize("isa, codes, texts", [
    (AARCH64, [FMLA, "ffffffff", SUBTRACT], ["fmla v0.4s, v1.4s, v2.4s", NOTHING, "subs x1, x1, #1"]),
    (X86_64, ["c158fcc5", "ff", "001000000548", "11b10f48f0", "a4f3"],
     ["vaddps %ymm1, %ymm0, %ymm0", NOTHING, "addq $1048576, %rax", "lock cmpxchgq %rdx, (%rcx)", "rep movsb (%rsi), %es:(%rdi)"])])
def test_machine_code_becomes_text(isa, codes, texts):
    assert [" ".join(text.split()) for text in mca.disassembled(codes, isa)] == texts


@needs_llvm
def test_an_instruction_that_a_core_does_not_have_is_named():
    with pytest.raises(TenfoldError, match=r"note: instruction: fmopa za0.s, p2/m, p2/m, z18.s, z17.s"):
        mca.block_cycles([("fmopa za0.s, p2/m, p2/m, z18.s, z17.s",)], "neoverse-v1", AARCH64)


@needs_llvm
def test_a_core_that_llvm_does_not_know():
    with pytest.raises(TenfoldError, match="'zen99' is not a recognized processor"):
        mca.block_cycles([("vaddps %ymm1, %ymm0, %ymm0",)], "zen99", X86_64)
