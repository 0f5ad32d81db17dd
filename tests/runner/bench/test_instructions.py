"""What the model knows of instructions: branches, multiply-adds, vectors on the stack, and what llvm-mca is told in place of some."""
from __future__ import annotations

import pytest
from tenfold.runner.bench.instructions import AARCH64, NOTHING, X86_64


@pytest.mark.parametrize("text", [
    "b\t#8", "bl\t#8", "b.ne\t#-8", "cbz\tx0, #8", "tbz\tw0, #0, #8", "ret", "br\tx16", "blr x8", "svc\t#0"])
def test_branches_of_aarch64(text):
    assert AARCH64.is_branch(text)


@pytest.mark.parametrize("text", [
    "fmla v0.4s, v1.4s, v2.4s", "bic x0, x1, x2", "subs x1, x1, #1", "bfi w0, w1, #2, #3", "brkn p0.b", NOTHING])
def test_no_branches_of_aarch64(text):
    assert not AARCH64.is_branch(text)


@pytest.mark.parametrize("text", [
    "jne\t-16", "jmpq\t*%rax", "jmp *%rax", "callq\t16", "retq", "rep\t\tretq", "notrack\tjmpq\t*%rax", "syscall", "int3"])
def test_branches_of_x86(text):
    assert X86_64.is_branch(text)


@pytest.mark.parametrize("text", [
    "vaddps %ymm1, %ymm0, %ymm0", "rep\t\tmovsb (%rsi), %es:(%rdi)", "leaq 8(%rax), %rax", "nopw (%rax)", NOTHING])
def test_no_branches_of_x86(text):
    assert not X86_64.is_branch(text)


@pytest.mark.parametrize("text, flops", [
    ("fmla\tv0.4s, v1.4s, v2.s[0]", 8), ("fmla v0.2s, v1.2s, v2.2s", 4), ("fmls v0.4s, v1.4s, v2.4s", 8), ("fmadd s0, s1, s2, s3", 2),
    ("fadd v0.4s, v1.4s, v2.4s", 0), ("ldr q0, [sp, #16]", 0)])
def test_flops_of_aarch64(text, flops):
    assert AARCH64.flops(text) == flops


@pytest.mark.parametrize("text, flops", [
    ("vfmadd231ps\t(%rax), %ymm1, %ymm0", 16), ("vfnmadd213ps %xmm2, %xmm1, %xmm0", 8), ("vfmsub132ss %xmm2, %xmm1, %xmm0", 2),
    ("vfmadd231pd %ymm2, %ymm1, %ymm0", 0), ("vmulps %ymm1, %ymm0, %ymm0", 0)])
def test_flops_of_x86(text, flops):
    assert X86_64.flops(text) == flops


@pytest.mark.parametrize("text, taken", [
    ("ldr\tq0, [x0], #16", ("ldr\tq0, [x0]", "add x0, x0, #16")), ("ldr s3, [x12], #-4", ("ldr s3, [x12]", "sub x12, x12, #4")),
    ("ldr x1, [x0], #8", ("ldr x1, [x0], #8",)), ("ldr q0, [x0, #16]!", ("ldr q0, [x0, #16]!",)),
    ("svc #0", (NOTHING,)), ("ldaddal w0, w1, [x2]", (NOTHING,))])
def test_what_llvm_models_wrong_is_told_in_other_words(text, taken):
    assert AARCH64.as_modelled(text) == taken


@pytest.mark.parametrize("text, taken", [
    ("callq\t16", ("jmp 0",)), ("retq", ("jmp 0",)), ("syscall", (NOTHING,)), ("rep\t\tstosb %al, %es:(%rdi)", (NOTHING,)),
    ("vaddps %ymm1, %ymm0, %ymm0", ("vaddps %ymm1, %ymm0, %ymm0",)), ("jne -16", ("jne -16",))])
def test_what_llvm_does_not_see_is_left_out(text, taken):
    assert X86_64.as_modelled(text) == taken


@pytest.mark.parametrize("isa, on, off", [
    (AARCH64, ["ldr\tq0, [sp, #16]", "stp\tq0, q1, [sp]", "stur\tq3, [sp, #-8]"],
     ["ldr\tq0, [x0]", "ldr\tx0, [sp, #16]", "str\ts0, [sp]"]),
    (X86_64, ["vmovups\t32(%rsp), %ymm0", "vmovaps\t%ymm3, (%rsp)"],
     ["vmovups (%rax), %ymm0", "movq 8(%rsp), %rax", "vmovss 4(%rsp), %xmm0"])])
def test_vectors_on_the_stack(isa, on, off):
    assert all(map(isa.is_stack_vector, on)) and not any(map(isa.is_stack_vector, off))
