"""Reading a fatbin that nvcc 13.0 made of tiny.cu for sm_80 and sm_90, with PTX of sm_80."""
from __future__ import annotations

from pathlib import Path

import pytest
from tenfold.codegen.cuda.fatbin import Image, holds_device_code, images
from tenfold.support.errors import TenfoldError

TINY = Path(__file__).with_name("tiny.fatbin").read_bytes()


def test_images():
    assert images(TINY) == (Image("ptx", "sm_80"), Image("cubin", "sm_80", ("doubled",)), Image("cubin", "sm_90", ("doubled",)))


@pytest.mark.parametrize("archs, kernels, holds", [
    (["sm_80"], [], True),
    (["sm_80", "sm_90"], ["doubled"], True),
    (["sm_80", "sm_86"], [], False),
    (["sm_80"], ["doubled", "halved"], False),
    ([], [], False),
])
def test_what_it_holds(archs, kernels, holds):
    assert holds_device_code(TINY, archs, kernels) is holds


def test_source_and_ptx_are_no_device_code():
    assert not holds_device_code(b'extern "C" __global__ void doubled(float* x);', ["sm_80"])
    assert not holds_device_code(b"", ["sm_80"])
    start, end = 16, TINY.index(b"\x7fELF") - 64  # the header of the first cubin is 64 bytes long
    only_ptx = TINY[:8] + (end - start).to_bytes(8, "little") + TINY[start:end]
    assert images(only_ptx) == (Image("ptx", "sm_80"),)
    assert not holds_device_code(only_ptx, ["sm_80"])


@pytest.mark.parametrize("cut", [4, 15, 40, 100, 3000, len(TINY) - 1])
def test_a_cut_file_is_damaged(cut):
    with pytest.raises(TenfoldError, match="damaged: compile the network again"):
        images(TINY[:cut])
    assert not holds_device_code(TINY[:cut], ["sm_80"])


def test_an_image_that_is_no_machine_code():
    damaged = TINY.replace(b"\x7fELF", b"\x7fELG")
    assert not holds_device_code(damaged, ["sm_80"])
