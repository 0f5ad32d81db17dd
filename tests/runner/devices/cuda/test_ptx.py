"""Inline assembly, one instruction after the other."""
from __future__ import annotations

import pytest
from tenfold.runner.devices.cuda import EmulationError
from tenfold.runner.devices.cuda.ptx import translate


@pytest.mark.parametrize("statement, call", [
    ('asm volatile("cp.async.commit_group;" :  : );', "{ emulator_commit(); };"),
    ('asm volatile("cp.async.wait_group 2;" :  :  : "memory");', "{ emulator_wait(2); };"),
    ('asm volatile("cp.async.wait_all;");', "{ emulator_wait(-1); };"),
    ('asm volatile("cp.async.cg.shared.global [%0], [%1], %2;" :: "r"(to), "l"(from), "n"(16));',
     "{ emulator_ptx_copy((emulator_ptx_shared((to))), (emulator_ptx_global((from))), (16)); };"),
    ('asm("cp.async.ca.shared::cta.global.L2::128B [%0], [%1 + 64], 8, %2;" :: "r"(f(a, b)), "l"(x), "r"(n ? 8 : 0) : "memory");',
     "{ emulator_ptx_copy((emulator_ptx_shared((f(a, b)))), (emulator_ptx_global((x))+ 64), 8, (n ? 8 : 0)); };"),
    ('asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(a[0]), "=r"(a[1]) : "r"(row));',
     "{ emulator_ptx_ldmatrix<true>(__LINE__, (emulator_ptx_shared((row))), (a[0]), (a[1])); };"),
    ('asm("{ .reg .u64 wide; cvta.to.shared.u64 wide, %1; cvt.u32.u64 %0, wide; }" : "=r"(narrow) : "l"(pointer));',
     "{ uint64_t wide{}; wide = emulator_shared_address((const void*)(pointer)); (narrow) = (uint32_t)wide; };"),
    ('__asm__ __volatile__("{\\n .reg .pred p;\\n setp.ne.b32 p, %2, 0;\\n"'
     '                     "@p ld.global.nc.v2.f32 {%0, %1}, [%3];\\n @!p mov.b32 %0, 0;\\n}\\n"'
     ' : "=f"(x), "=f"(y) : "r"(on), "l"(from));',
     "{ bool p{}; p = (on) != 0; if ((p)) emulator_ptx_load((emulator_ptx_global((from))), (x), (y)); if (!(p)) (x) = 0; };"),
    ('asm("" ::: "memory");', "{  };"),
])
def test_statements(statement, call):
    assert translate(statement) == call


def test_lines_keep_their_numbers():
    source = 'before();\nasm volatile("cp.async.commit_group;"\n    :\n    : );\nafter();'
    assert translate(source).splitlines()[4] == "after();"


@pytest.mark.parametrize("instruction, unknown", [
    ("mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32 {%0}, {%1}, {%2}, {%3};", "instruction 'mma.sync.aligned.m16n8k64.row.col.s32"),
    ("bar.sync 1, 64;", "instruction 'bar.sync'"),
    ("mov.u32 %0, %clock;", "register '%clock'"),
])
def test_what_is_unknown(instruction, unknown):
    with pytest.raises(EmulationError, match=f"does not know the PTX {unknown}"):
        translate(f'asm("{instruction}" : "=r"(a) : "r"(b), "r"(c), "r"(d));')
