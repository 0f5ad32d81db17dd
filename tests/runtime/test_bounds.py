"""What an artifact says of memory is checked on loading: its hashes are right here, its numbers are not."""
from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import tenfold
from artifact_edits import edit, read_words, sign, write_words
from conftest import tiny_network
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.runtime.bounds import check_contents
from tenfold.runtime.memory_plan import ALIGNMENT, Destination, Operand, Place, Step
from tenfold.runtime.weights import map_weights, write_weights
from tenfold.support.errors import TenfoldError

F4 = "float32"
IMAGE, SCORES = ((2, 3), F4), ((2, 4), F4)
WEIGHT, PLACE, OUTPUT = np.ones((3, 4), F4), Place(F4, (1, 4), 0), Destination(F4, (1, 4), 0)
GOOD = Step("matmul", (Operand(0, (1, 3)), Operand(2, (3, 4)), Operand(3, (4,)))), Step("add", (Operand(3, (1, 4)), Operand(1, (1, 4))))


@pytest.fixture
def copy(tiny_artifact, tmp_path):
    """The compiled network, to be spoilt."""
    return shutil.copytree(tiny_artifact, tmp_path / "copy")


def checked(path, places=(PLACE,), destinations=(OUTPUT,), steps=GOOD, pieces=2, inputs=(IMAGE,), outputs=(SCORES,)):
    write_weights(path, [WEIGHT], places, destinations, steps, pieces)
    check_contents(map_weights(path), inputs, outputs)


def test_what_fits_is_accepted(tmp_path):
    checked(tmp_path / "w")
    checked(tmp_path / "w", outputs=None)
    checked(tmp_path / "w", destinations=(Destination(F4, (2, 4), 0),), steps=(), pieces=1)


BAD = {
    "no such tensor": ({"steps": (Step("k", (Operand(4, (4,)),)),)}, "no tensor 4"),
    "larger than its input": ({"steps": (Step("k", (Operand(0, (2, 3)),)),)}, "reads an input"),
    "smaller than its input": ({"steps": (Step("k", (Operand(0, (1, 2)),)),)}, "reads an input"),
    "larger than its output": ({"steps": (Step("k", (Operand(1, (2, 4)),)),)}, "takes tensor 1"),
    "larger than its weight": ({"steps": (Step("k", (Operand(2, (3, 5)),)),)}, "takes tensor 2"),
    "larger than its place": ({"steps": (Step("k", (Operand(3, (1 << 40,)),)),)}, "takes tensor 3"),
    "pieces that do not divide": ({"pieces": 3, "destinations": ()}, "pieces|outputs"),
    "a batch without pieces": ({"inputs": (IMAGE, ((), F4))}, "pieces"),
    "pieces without steps": ({"steps": ()}, "pieces"),
    "no output": ({"destinations": ()}, "outputs"),
    "an output that is not there": ({"destinations": (Destination(F4, (1, 4), 1),)}, "outputs"),
    "one output twice": ({"destinations": (Destination(F4, (1, 4), 0),) * 2, "outputs": (SCORES, SCORES)}, "same output"),
    "outputs in another order": (
        {"destinations": (Destination(F4, (1, 4), 1), Destination(F4, (1, 4), 0)), "outputs": (SCORES, SCORES)},
        "order",
    ),
    "an output of another shape": ({"outputs": (((4, 2), F4),)}, "no output of the network"),
    "an output of another type": ({"outputs": (((2, 4), "float64"),)}, "no output of the network"),
    "an output that is a number": ({"destinations": (Destination(F4, (), 0),)}, "pieces"),
    "more memory than there is": ({"places": (Place(F4, (1, 4), 1 << 45),)}, "GB of memory"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused(tmp_path, name):
    changes, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        checked(tmp_path / "w", **changes)


@given(words=st.lists(st.tuples(st.integers(0, 133), st.integers(-(2**63), 2**63 - 1) | st.integers(-4, 300)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
def test_whatever_the_table_says_no_tensor_lies_outside(tiny_artifact, tmp_path_factory, words):
    """No call is made: what is laid out by the numbers lies within the memory that is there."""
    content = bytearray((tiny_artifact / "weights.bin").read_bytes())
    table = read_words(tiny_artifact)
    for index, value in words:
        content[8 * (index % len(table)) : 8 * (index % len(table)) + 8] = value.to_bytes(8, "little", signed=True)
    path = tmp_path_factory.mktemp("w") / "weights.bin"
    path.write_bytes(content)
    try:
        contents = map_weights(path)
        check_contents(contents, [((1, 3, 8, 8), F4)], [((1, 5), F4)])
    except (TenfoldError, ValueError) as error:
        assert "\n" not in str(error)
        return
    begin, end = contents.mapping.ctypes.data, contents.mapping.ctypes.data + contents.mapping.nbytes
    for weight in contents.weights:
        assert begin <= weight.ctypes.data and weight.ctypes.data + weight.nbytes <= end
        assert (weight.ctypes.data - begin) % ALIGNMENT == 0
    tensors = (*contents.destinations, *contents.weights, *contents.places)
    sizes = [3 * 8 * 8, *(np.prod(tensor.shape, dtype=int) for tensor in tensors)]
    for operand in (operand for step in contents.steps for operand in step.operands):
        assert np.prod(operand.shape, dtype=int) == sizes[operand.position]


def rewrite(folder, contents, steps):
    """Other steps for the same tensors; the old file stays mapped."""
    (folder / "weights.bin").unlink()
    write_weights(folder / "weights.bin", contents.weights, contents.places, contents.destinations, steps)
    sign(folder)


@pytest.mark.parametrize("kernel", ["no_such_kernel", "main", "tenfold_run", "_library_bin", "../x", "vm_load_executable"])
def test_what_is_no_kernel_of_the_library_is_not_called(copy, kernel):
    contents = map_weights(copy / "weights.bin")
    rewrite(copy, contents, (Step(kernel, contents.steps[0].operands), *contents.steps[1:]))
    with pytest.raises(TenfoldError, match="no kernel|no name of a kernel"):
        tenfold.load(copy)


def test_a_kernel_with_other_arguments_is_an_error_of_one_line(copy, image):
    contents = map_weights(copy / "weights.bin")
    first = contents.steps[0]
    for operands in (first.operands[:-1], first.operands[::-1], ()):
        rewrite(copy, contents, (Step(first.kernel, operands), *contents.steps[1:]))
        with pytest.raises(TenfoldError, match="the compiled code failed") as caught:
            tenfold.load(copy)(image)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"pieces": 2},
        {"inputs": []},
        {"inputs": [{"name": "image", "shape": [1, 3, 8, 9], "dtype": F4}]},
        {"inputs": [{"name": "image", "shape": [1, 3, 8, 8], "dtype": F4}, {"name": "mask", "shape": [1], "dtype": F4}]},
        {"outputs": [{"name": "scores", "shape": [1, 6], "dtype": F4}]},
        {"outputs": [{"name": name, "shape": [1, 5], "dtype": F4} for name in ("scores", "more")]},
        {"outputs": []},
    ],
)
def test_ports_that_are_not_those_of_the_code_are_refused(copy, changes):
    edit(copy, **changes)
    with pytest.raises(TenfoldError, match=str(copy)):
        tenfold.load(copy)


def test_an_input_of_another_type_is_refused_by_the_kernel(copy, image):
    edit(copy, inputs=[{"name": "image", "shape": [1, 3, 8, 8], "dtype": "int32"}])
    with pytest.raises(TenfoldError, match="the compiled code failed"):
        tenfold.load(copy)(image.astype("int32"))


def test_table_cut_anywhere(copy):
    words = read_words(copy)
    for size in range(len(words)):
        write_words(copy, [words[0], 8 * size, *words[2:]])
        with pytest.raises(TenfoldError, match="not the weights of a compiled network"):
            tenfold.load(copy)


def test_threads_are_bounded(tiny_artifact):
    for threads in (0, -1, 1 << 40):
        with pytest.raises(TenfoldError, match="threads"):
            tenfold.load(tiny_artifact, threads)
        with pytest.raises(TenfoldError, match="threads"):
            tenfold.compile(tiny_network(), threads=threads)


@pytest.mark.parametrize("name", ["manifest.json", "model.so", "weights.bin"])
@pytest.mark.parametrize("kind", ["pipe", "zero", "folder", "dangling", "endless"])
def test_files_that_are_none_are_refused(copy, name, kind):
    (copy / name).unlink()
    {
        "pipe": lambda: os.mkfifo(copy / name),
        "zero": lambda: (copy / name).symlink_to("/dev/zero"),
        "folder": lambda: (copy / name).mkdir(),
        "dangling": lambda: (copy / name).symlink_to("nowhere"),
        "endless": lambda: (copy / name).symlink_to("/proc/self/pagemap"),
    }[kind]()
    with pytest.raises(TenfoldError) as caught:
        tenfold.load(copy)
    assert "\n" not in str(caught.value)


def test_a_manifest_is_read_strictly(copy):
    text = (copy / "manifest.json").read_text()
    spoilt = {
        "twice": text.replace('"threads"', '"name": "again", "threads"', 1),
        "NaN": text.replace('"macs": ', '"macs": NaN, "macs_": ', 1),
        "deep": text.replace('"plan": null', '"plan": ' + '{"a":' * 50000 + "1" + "}" * 50000, 1),
        "digits": text.replace('"params": ', '"params": ' + "9" * 5000, 1),
        "huge": json.dumps({**json.loads(text), "params": 1 << 70}),
        "negative": json.dumps({**json.loads(text), "threads": -1}),
        "boolean": json.dumps({**json.loads(text), "threads": True}),
        "float": json.dumps({**json.loads(text), "pieces": 1.0}),
    }
    for content in spoilt.values():
        assert content != text
        (copy / "manifest.json").write_text(content)
        with pytest.raises(TenfoldError, match=r"manifest\.json") as caught:
            tenfold.load(copy)
        assert "\n" not in str(caught.value)
