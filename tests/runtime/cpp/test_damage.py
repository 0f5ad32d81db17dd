"""Whatever is wrong with an artifact is one line in C++, and no crash."""
from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from artifact_edits import edit, read_words, sign, write_words
from cpp_program import ask, needs_compiler, refused
from tenfold.runtime.manifest import FORMAT

pytestmark = needs_compiler


@pytest.mark.parametrize("name", ["manifest.json", "model.so", "weights.bin"])
def test_files_that_are_missing_cut_or_changed(checks, copy, image, name):
    content = (copy / name).read_bytes()
    for changed in (b"", content[: len(content) // 2], content[:-3], b"%" + content[1:], content + b"%"):
        (copy / name).write_bytes(changed)
        refused(checks, copy, name, image)
    (copy / name).unlink()
    refused(checks, copy, f"there is no {name} in it", image)
    (copy / name).mkdir()
    refused(checks, copy, f"{name}: can't be", image)
    refused(checks, copy / "weights.bin", "", image)
    refused(checks, copy.parent / "nowhere", "No such file", image)


def image_of(*shape):
    return {"inputs": [{"name": "image", "shape": shape, "dtype": "float32"}]}


PORT = {"name": "image", "shape": [1, 3, 8, 8], "dtype": "float32"}
SCORES = {"name": "scores", "shape": [1, 5], "dtype": "float32"}
FIELDS = [
    ({"format": FORMAT + 1}, f"format {FORMAT + 1}"), ({"format": True}, "a whole number"), ({"format": str(FORMAT)}, "a whole number"),
    ({"inputs": []}, "do not fit"), ({"inputs": None}, "a list"), ({"inputs": [PORT, PORT]}, "the same name"),
    ({"inputs": [5]}, "an object"),
    (image_of(1, 3, 8, 9), "do not fit"), (image_of(1, 3, 8, -8), "-8 is not a whole number"), (image_of(1.0), "1.0 is not a whole number"),
    (image_of(1 << 40, 1 << 40), "no possible shape"), (image_of(0, 1 << 45, 9), "no possible shape"),
    (image_of(*[1] * 33), "no possible shape"), (image_of(1 << 64), "is not a whole number"),
    ({"inputs": [{**PORT, "dtype": "float31"}]}, "no dtype"),
    ({"inputs": [{**PORT, "dtype": "int32"}]}, "the compiled code failed"), ({"outputs": []}, "do not fit"),
    ({"outputs": [SCORES, {**SCORES, "name": "more"}]}, "do not fit"), ({"outputs": [{**SCORES, "shape": [5, 1]}]}, "do not fit"),
    ({"outputs": [{**SCORES, "dtype": "int32"}]}, "do not fit"), ({"threads": 0}, "0 is not"), ({"threads": 65537}, "65537 is not"),
    ({"pieces": 0}, "0 is not"), ({"pieces": 2}, "different pieces"), ({"library_sha256": "0" * 64}, "model.so: does not match"),
    ({"target": {"name": "a\x1b[2Jb", "architecture": "vax", "features": []}}, "a?[2Jb is vax"),
    ({"target": {"name": "q", "architecture": "x86_64"}}, "'features' is missing"),
]  # fmt: skip


@pytest.mark.parametrize("fields, words", FIELDS, ids=[json.dumps(fields)[:40] for fields, _ in FIELDS])
def test_a_manifest_that_says_other_things(checks, copy, image, fields, words):
    edit(copy, **fields)
    refused(checks, copy, words, image)


def test_a_cpu_that_lacks_something(checks, copy, image):
    target = json.loads((copy / "manifest.json").read_text())["target"]
    edit(copy, target={**target, "features": [*target["features"], "quantum"]})
    refused(checks, copy, "needs quantum, which this machine lacks", image)


def test_json_is_read_strictly(checks, copy, image):
    text = (copy / "manifest.json").read_text()
    for begin in [
        "{,", '{"a" 1,', '{"a":,', "{'a':1,", '{"a":NaN,', '{"a":01,', '{"a":.5,', '{"a":1.,', '{"a":+1,', '{"a":1e,', '{"a":-,',
        '{"a":tru,',
        '{"a":"\\x",', '{"a":"\\ud800",', '{"a":"\\udc00\\ud800",', '{"a":"\\u12",', '{"a":"\n",', '{"a":"', '{"a":[1 2],', '{"a":[1,],',
        '{"a":1;', '{"a":1,"a":2,', '{"a":' + "[" * 5000, "\x00{",
    ]:  # fmt: skip
        (copy / "manifest.json").write_text(text.replace("{", begin, 1))
        refused(checks, copy, "manifest.json: ", image)
    (copy / "manifest.json").write_text(text + "x")
    refused(checks, copy, "manifest.json: not JSON at byte", image)
    good = text.replace("{", '{"a":[{}, [], -0, 0.5, 1e5, -1.25E-7, true, false, null, "\\u00e9\\ud83d\\ude00\\n\\/"],', 1)
    (copy / "manifest.json").write_text(good)
    compared_without_python(checks, copy, image)


def compared_without_python(checks, folder, image):
    (folder.parent / "inputs").write_bytes(image.tobytes())
    assert ask(checks, ["run", folder, 1, folder.parent / "inputs", folder.parent / "outputs"]) == ["ok 1"]


def test_names_are_read_as_python_writes_them(checks, copy, image):
    edit(copy, inputs=[{**PORT, "name": "bild \u00e9\U0001f600\n"}])
    refused(checks, copy, "input 'bild \u00e9\U0001f600?' holds NaN", np.full_like(image, np.nan))


def test_whatever_the_table_of_weights_says(checks, copy, image):
    """Its hash fits: what is wrong is seen by the numbers, or by the kernels that are called with them. Run under the sanitizers."""
    words, rng, lines = read_words(copy), random.Random(0), []
    inputs = copy.parent / "inputs"
    inputs.write_bytes(image.tobytes())
    values = [-1, 7, 8, 63, 64, 4096, 1 << 20, 1 << 40, 1 << 46, 1 << 61, (1 << 63) - 1, -(1 << 63)]
    for number in range(250):
        folder = copy.parent / f"n{number}"
        folder.mkdir()
        changed = list(words)
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            near = range(8)  # positions of tensors, numbers of dimensions
            changed[rng.randrange(2, len(words))] = rng.choice([rng.choice(values), rng.choice(near), rng.choice(near), rng.choice(words)])
        for name in ("manifest.json", "weights.bin"):
            shutil.copy(copy / name, folder / name)
        (folder / "model.so").symlink_to(copy / "model.so")
        write_words(folder, changed)
        lines.append(["run", folder, 2, inputs, folder / "outputs"])
    answers = ask(checks, *lines)
    assert all(answer.startswith(("ok ", "error ")) for answer in answers)
    for words_of_one in ("ok ", "not the weights of", "do not fit", "the compiled code failed: "):
        assert any(words_of_one in answer for answer in answers)


def test_a_kernel_that_is_not_there(checks, copy, image):
    content = (copy / "weights.bin").read_bytes()
    kernel = json.loads((copy / "manifest.json").read_text())["kernels"][0]["function"].encode()
    (copy / "weights.bin").write_bytes(content.replace(kernel, b"x" * len(kernel), 1))
    sign(copy)
    refused(checks, copy, f"it has no __tvm_ffi_{'x' * len(kernel)}", image)


def test_a_library_that_is_none(checks, copy, image):
    for content in (b"", b"no library", Path(shutil.which("true")).read_bytes()):
        (copy / "model.so").write_bytes(content)
        sign(copy)
        refused(checks, copy, "model.so: can't be loaded as a compiled network", image)
