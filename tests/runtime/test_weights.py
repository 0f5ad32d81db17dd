"""weights.bin: what is written is what is mapped."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tenfold.runtime.memory_plan import ALIGNMENT, Destination, Operand, Place, Step
from tenfold.runtime.weights import map_weights, write_together, write_weights
from tenfold.support.errors import TenfoldError

DTYPES = st.sampled_from(["float32", "float16", "float64", "int64", "int32", "int8", "uint8", "bool"])

OPERANDS = st.builds(Operand, st.integers(0, 99), st.lists(st.integers(0, 9), max_size=4).map(tuple))
STEPS = st.builds(Step, st.text("abcdefgh_0123456789", max_size=40).map("f".__add__), st.lists(OPERANDS, max_size=4).map(tuple))
PLACES = st.builds(Place, DTYPES, st.lists(st.integers(0, 9), max_size=4).map(tuple), st.integers(0, 10**10).map(lambda n: ALIGNMENT * n))
ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0, max_dims=6)))


@given(
    weights=st.lists(ARRAYS, max_size=6),
    places=st.lists(PLACES, max_size=4),
    destinations=st.lists(st.builds(Destination, DTYPES, st.tuples(st.integers(0, 9), st.integers(0, 9)), st.integers(0, 9)), max_size=3),
    steps=st.lists(STEPS, max_size=4),
)
@settings(deadline=None)
def test_what_is_written_is_mapped(weights, places, destinations, steps, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.bin"
    size = write_weights(path, weights, places, destinations, steps)
    contents = map_weights(path)
    assert len(contents.weights) == len(weights) and contents.places == tuple(places)
    assert contents.destinations == tuple(destinations) and contents.steps == tuple(steps)
    for ours, given_ in zip(contents.weights, weights, strict=True):
        assert ours.dtype == given_.dtype and ours.tobytes() == given_.tobytes() and ours.shape == given_.shape
        assert ours.ctypes.data % ALIGNMENT == 0
    assert size == sum(-(-w.nbytes // ALIGNMENT) * ALIGNMENT for w in weights)


def test_arrays_that_are_not_contiguous_are_written_in_order(tmp_path):
    array = np.arange(24, dtype="float32").reshape(2, 3, 4).transpose(2, 0, 1)
    write_weights(tmp_path / "w", [array], [])
    np.testing.assert_array_equal(map_weights(tmp_path / "w").weights[0], array)


@pytest.mark.parametrize("content", [b"", b"short", bytes(64), b"tenfold1" + bytes(64), b"tenfold2" + bytes([255]) * 64])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(TenfoldError, match="not the weights"):
        map_weights(tmp_path / "w")


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    write_weights(tmp_path / "w", [np.ones(2000, "float32")], [])
    with open(tmp_path / "w", "r+b") as file:
        file.truncate(8192)
    with pytest.raises(TenfoldError, match="not the weights"):
        map_weights(tmp_path / "w")


@given(
    networks=st.lists(st.lists(st.sampled_from(range(6)), max_size=6), min_size=2, max_size=4),
    places=st.lists(PLACES, max_size=2),
    steps=st.lists(STEPS, max_size=2),
)
@settings(deadline=None)
def test_what_is_written_together_is_mapped_and_stored_once(networks, places, steps, tmp_path_factory):
    """Each network has some of the same arrays."""
    folder, arrays_ = tmp_path_factory.mktemp("together"), [np.full((number + 1, 9), number, "float32") for number in range(6)]
    contents, alone = [], []
    for number, chosen in enumerate(networks):
        size = write_weights(folder / f"alone{number}", [arrays_[i] for i in chosen], places, (), steps, number + 1)
        contents.append(map_weights(folder / f"alone{number}"))
        alone.append(size)
    paths = [folder / f"{number}" for number in range(len(networks))]
    saved = write_together(paths, contents)
    store = map_weights(paths[0]).mapping
    for number, (path, chosen) in enumerate(zip(paths, networks, strict=True)):
        found = map_weights(path, store=None if number == 0 else store)
        assert [weight.tolist() for weight in found.weights] == [arrays_[i].tolist() for i in chosen]
        assert (found.places, found.steps, found.pieces) == (tuple(places), tuple(steps), number + 1)
    used = {i for chosen in networks for i in chosen}
    assert sum(alone) - saved == sum(-(-arrays_[i].nbytes // ALIGNMENT) * ALIGNMENT for i in used)


def test_a_table_whose_weights_are_not_in_the_file_is_refused(tmp_path):
    for name, size in (("long", 3000), ("short", 10)):
        write_weights(tmp_path / name, [np.ones(size, "float32")], [])
    with pytest.raises(TenfoldError, match="a weight lies outside it"):
        map_weights(tmp_path / "long", store=map_weights(tmp_path / "short").mapping)
