"""Packed files of weights: what comes out is what went in, and nothing that is cut short or changed is read."""
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.runtime import packed_weights
from tenfold.runtime.packed_weights import is_packed, unpacked
from tenfold.runtime.weights import map_weights, pack_file, write_weights
from tenfold.support.errors import TenfoldError


def few(count: int, values: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice(rng.standard_normal(values).astype("float32"), count)


@pytest.mark.parametrize("values", [1, 2, 3, 15, 16, 17, 32, 200, 256])
@pytest.mark.parametrize("count", [1024, 1025, 5000])
def test_tensors_of_few_values_come_out_as_they_were(values, count, tmp_path, monkeypatch):
    monkeypatch.setattr(packed_weights, "CHUNK", 512)
    path, weights = tmp_path / "weights.bin", [few(count, values), np.arange(7, dtype="float32"), few(2048, 4, 1).reshape(64, 32)]
    write_weights(path, weights, [])
    before = path.read_bytes()
    assert pack_file(path) == count + 2048
    assert is_packed(np.frombuffer(path.read_bytes(), np.uint8)) and path.stat().st_size < len(before)
    contents = map_weights(path)
    assert contents.mapping.tobytes() == before and contents.mapping.ctypes.data % 4096 == 0
    for ours, theirs in zip(contents.weights, weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_weight_takes_its_bits(tmp_path):
    path, count = tmp_path / "weights.bin", 1 << 18
    write_weights(path, [few(count, 32)], [])
    pack_file(path)
    assert path.stat().st_size == pytest.approx(count * 5 / 8, rel=0.03)


def test_others_stay_as_they_are(tmp_path):
    """Of many values, small, or of another type; and bits are kept: -0, NaN."""
    strange = np.resize(np.array([0x80000000, 0, 0x7FC00001, 0x3F800000], np.uint32), 2000).view(np.float32)
    weights = [few(5000, 300), few(100, 2), np.zeros(5000, np.int32), strange]
    path = tmp_path / "weights.bin"
    write_weights(path, weights, [])
    before = path.read_bytes()
    assert pack_file(path) == 2000
    assert map_weights(path).mapping.tobytes() == before


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_what_was_changed_is_an_error_or_other_numbers(data):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.bin"
        write_weights(path, [few(1500, 5), np.ones(40, np.float32)], [])
        pack_file(path)
        whole = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
        else:
            word = data.draw(st.integers(0, 5))
            struct.pack_into("<q", whole, 8 * word, data.draw(st.sampled_from([-1, 0, 1, 9, 2**40, 2**62, -(2**63), 1501, 4096, 4095])))
        path.write_bytes(whole)
        try:
            map_weights(path)
        except TenfoldError as error:
            assert "not the weights of a compiled network" in str(error)


@pytest.mark.parametrize(
    "part, words", [((0, 10, 9), "outside"), ((0, 0, 4), "outside"), ((5000, 10, 4), "outside"), ((0, 100, 4), "cut short")]
)
def test_parts_that_cannot_be(part, words):
    packed = np.frombuffer(struct.pack("<6q", packed_weights.MAGIC, 4096, 1, *part) + bytes(100), np.uint8)
    with pytest.raises(ValueError, match=words):
        unpacked(packed)
