"""A network is compiled for several sizes: all of them, or nothing at all."""
from __future__ import annotations

import json
import os
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from conftest import tiny_network
from device_checks import Server, ended_after
from onnx import TensorProto, helper, numpy_helper
from tenfold.runner import compile_sizes
from tenfold.runner.compile_sizes import split_sizes
from tenfold.runtime.manifest import Manifest
from tenfold.runtime.sizes import SIZES, Sizes, read_manifests
from tenfold.support.errors import TenfoldError, TenfoldWarning, VerificationError
from tenfold.targets import detection


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def network(nodes, inputs, outputs, constants=None):
    """An ONNX graph. Ports are name -> shape."""
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in each.items()] for each in (inputs, outputs)]
    made = [helper.make_node(op, ins, outs, name=outs[0], **attributes) for op, ins, outs, attributes in nodes]
    weights = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(made, "net", *ports, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def by_image_size():
    """A convolution of an image of any size, and the mean of each of its channels."""
    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype("float32")
    nodes = [("Conv", ["x", "w"], ["c"], {"pads": [1] * 4}), ("Relu", ["c"], ["y"], {}), ("GlobalAveragePool", ["y"], ["m"], {})]
    return network(nodes, {"x": ["n", 3, "h", "w"]}, {"y": ["n", 16, "h", "w"], "m": ["n", 16, 1, 1]}, {"w": weight})


def close(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def test_sizes_are_all_combinations():
    shapes = [{"x": (1, 3, 8, 8)}, {"x": (1, 3, 9, 9)}]
    assert split_sizes({"batch": 4, "trust": True}) == [{"batch": 4, "trust": True}]
    assert split_sizes({"batch": (4,)}) == [{"batch": 4}]
    assert split_sizes({"batch": [1, 2], "input_shapes": None}) == [{"batch": 1, "input_shapes": None}, {"batch": 2, "input_shapes": None}]
    assert split_sizes({"input_shapes": shapes}) == [{"input_shapes": each} for each in shapes]
    assert len(split_sizes({"input_shapes": shapes, "batch": (1, 2, 3)})) == 6


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ({"batch": ()}, "batch must not be empty"),
        ({"batch": (1, 4, 1)}, "batch 1 is given twice"),
        ({"input_shapes": [{"x": (1, 2)}, {"x": (1, 2)}]}, "is given twice"),
        ({"batch": tuple(range(1, 34))}, "33 sizes are more than the 32"),
        ({"batch": (1, 0)}, "batch must be a whole number of 1 or more, not 0"),
        ({"batch": (1, "4")}, "batch must be a whole number of 1 or more, not '4'"),
    ],
)
def test_sizes_that_can_not_be(reading, words, tmp_path):
    with pytest.raises(TenfoldError, match=words):
        tenfold.compile(tiny_network(batch="N"), output=tmp_path / "out", **reading)
    assert names(tmp_path) == []


@pytest.mark.slow
def test_images_of_several_sizes(tmp_path):
    model = by_image_size()
    shapes = [{"x": (batch, 3, side, side)} for side in (8, 12) for batch in (2, 1)] + [{"x": (1, 3, 6, 10)}]
    tenfold.compile(model, output=tmp_path / "out", input_shapes=shapes)
    net, session = tenfold.load(tmp_path / "out"), onnxruntime.InferenceSession(model.SerializeToString())
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TenfoldWarning)
        for shape in [*(each["x"] for each in shapes), (5, 3, 8, 8), (3, 3, 12, 12)]:
            x = rng.standard_normal(shape).astype("float32")
            close(net(x), session.run(None, {"x": x}))
    known = "x 2x3x8x8; x 1x3x8x8; x 2x3x12x12; x 1x3x12x12; x 1x3x6x10"
    for shape in ((1, 3, 9, 9), (2, 3, 6, 10)):
        with pytest.raises(TenfoldError, match=f"not compiled for x {'x'.join(map(str, shape))}, but for: {known}$"):
            net(np.zeros(shape, "float32"))


def test_an_input_that_is_the_same_for_all_images(tmp_path):
    nodes = [("Mul", ["x", "scale"], ["p"], {}), ("Relu", ["p"], ["y"], {})]
    model = network(nodes, {"x": ["n", 6], "scale": [1, 6]}, {"y": ["n", 6]})
    net = tenfold.compile(model, output=tmp_path / "out", batch=(2, 6))
    rng = np.random.default_rng(0)
    x, scale = rng.standard_normal((9, 6)).astype("float32"), rng.standard_normal((1, 6)).astype("float32")
    with pytest.warns(TenfoldWarning, match=r"a batch of 9 runs as 6 \+ 2 x 2, 1 of them filled up"):
        np.testing.assert_allclose(net({"x": x, "scale": scale}), np.maximum(x * scale, 0), rtol=1e-6)
    with pytest.raises(TenfoldError, match="not compiled for x 9x6, scale 2x6"):
        net({"x": x, "scale": np.zeros((2, 6), "float32")})


def test_images_that_depend_on_each_other_are_not_put_together(tmp_path):
    """A softmax over the batch: every image's outputs are others in another batch."""
    model = network([("Softmax", ["x"], ["y"], {"axis": 0})], {"x": ["n", 6]}, {"y": ["n", 6]})
    net = tenfold.compile(model, output=tmp_path / "out", batch=(2, 4))
    assert not Sizes.read(tmp_path / "out").independent and not tenfold.load(tmp_path / "out").independent
    x = np.random.default_rng(0).standard_normal((8, 6)).astype("float32")
    for batch in (2, 4):
        e = np.exp(x[:batch])
        np.testing.assert_allclose(net(x[:batch]), e / e.sum(axis=0), rtol=1e-5)
    with pytest.raises(TenfoldError, match="not compiled for x 8x6, but for: x 2x6; x 4x6; no other batch.*depend on each other"):
        net(x)


@pytest.mark.quick(1)
@pytest.mark.parametrize("price", [0.0, 1e9])
def test_a_weight_has_the_form_of_the_first_size_if_that_is_not_too_dear(tmp_path, monkeypatch, price):
    """Both sizes of the dense layer read one weight then, on any machine."""
    monkeypatch.setattr("tenfold.schedules.choices.PACKED_ALIKE", price)
    model = tiny_network(features=32, classes=130, batch="N")
    net = tenfold.compile(model, output=tmp_path / "out", batch=(2, 24), tune_log=False)
    points = [next(point for workload, point in size.manifest.choices.items() if "dense" in workload) for size in net.sizes]
    if price:
        assert points[0]["vectors"] == points[1]["vectors"] and Sizes.read(tmp_path / "out").saved >= 4 * 130 * 512
    else:
        alone = tenfold.compile(model, batch=24, tune_log=False)
        assert net.sizes[1].manifest.choices == alone.manifest.choices


def test_a_batch_that_the_model_fixes(tiny_file, tmp_path):
    with pytest.raises(TenfoldError, match="a batch of 4 is not possible: the sizes are fixed"):
        tenfold.compile(tiny_file, output=tmp_path / "out", batch=(1, 4))
    with pytest.raises(TenfoldError, match=r"two of the sizes have the same inputs \(image 2x3x8x8\)"):
        tenfold.compile(tiny_network(batch="N"), output=tmp_path / "out", batch=2, input_shapes=[{"image": (2, 3, 8, 8)}, {}])
    assert names(tmp_path) == []


def test_gpus_are_refused(tmp_path):
    with pytest.raises(TenfoldError, match="target sm_80: several sizes in one artifact are for CPUs"):
        tenfold.compile(tiny_network(batch="N"), "sm_80", tmp_path / "out", batch=(1, 4))
    assert names(tmp_path) == []


def test_a_size_that_is_wrong_leaves_what_was_there(tmp_path, monkeypatch, image):
    """Nothing is written, and nothing is left anywhere."""
    model, output = tiny_network(batch="N"), tmp_path / "out"
    tenfold.compile(model, output=output, batch=2)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    from tenfold.runner import compile as compiler

    real = compiler.verify_variant

    def wrong(variant, *rest):
        if variant.network.inputs[0].shape[0] == 4:
            raise VerificationError("it is wrong")
        return real(variant, *rest)

    monkeypatch.setattr(compiler, "verify_variant", wrong)
    with pytest.raises(VerificationError, match="it is wrong"):
        tenfold.compile(model, output=output, batch=(1, 4))
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before and names(tmp_path) == ["out"]


@pytest.mark.slow
def test_one_kind_of_artifact_replaces_the_other_and_nothing_else(tmp_path, image):
    model, output = tiny_network(batch="N"), tmp_path / "out"
    first = tenfold.compile(model, output=output, batch=(1, 2))
    expected = first(image)
    assert names(output) == ["manifest.2.json", "manifest.json", "model.2.so", "model.so", "sizes.json", "weights.2.bin", "weights.bin"]
    tenfold.compile(model, output=output, batch=1)
    assert names(output) == ["manifest.json", "model.so", "weights.bin"]
    np.testing.assert_array_equal(first(image), expected)
    tenfold.compile(model, output=output, batch=(2, 1))
    assert [size.inputs[0].shape[0] for size in tenfold.load(output).sizes] == [2, 1]
    weights = output / "weights.2.bin"
    weights.write_bytes(weights.read_bytes() + b"x")
    for spoil, words in ((lambda: None, "weights.2.bin is not the one of manifest.2.json"),
                         ((output / "manifest.2.json").unlink, "there is no manifest.2.json, as model.2.so would need"),
                         (lambda: (output / "notes.txt").write_text("mine"), "notes.txt")):
        spoil()
        with pytest.raises(TenfoldError, match=words):
            tenfold.compile(model, output=output, batch=(1, 4))
    assert (output / "notes.txt").read_text() == "mine" and (output / SIZES).exists()


def test_without_an_output_it_lasts_as_long_as_it_is_held():
    net = tenfold.compile(tiny_network(batch="N"), batch=(1, 3))
    folder = net.folder
    assert len(net.sizes) == 2 and all(size.folder == folder for size in net.sizes) and folder.exists()
    assert net(np.zeros((3, 3, 8, 8), "float32")).shape == (3, 5)
    del net
    assert not folder.exists()


def test_a_plan_holds_for_every_size(tmp_path):
    model = tiny_network(batch="N")
    onnx.save(model, tmp_path / "net.onnx")
    plan = tenfold.compress(tmp_path / "net.onnx", tmp_path / "small", tenfold.Recipe("channel_svd", 0.5), batch=1).plan
    net = tenfold.compile(tmp_path / "net.onnx", plan=plan, batch=(1, 4))
    assert all(size.manifest.plan["layers"]["conv"]["method"] == "channel_svd" for size in net.sizes)
    session, x = onnxruntime.InferenceSession(tmp_path / "small" / "model.onnx"), np.ones((1, 3, 8, 8), "float32")
    close([net(np.repeat(x, 4, axis=0))[2:3]], session.run(None, {"image": x}))


def test_every_size_is_verified_later(tmp_path, monkeypatch, image):
    """By a machine that can run it, with the model and without."""
    model = tmp_path / "net.onnx"
    onnx.save(tiny_network(batch="N"), model)
    with monkeypatch.context() as patch:
        patch.setattr("tenfold.runtime.requirements.cpu_flags", lambda: detection.cpu_flags() - {"avx2"})
        patch.setattr("tenfold.runner.devices.choose.emulator_for", lambda architecture: None)
        net = tenfold.compile(model, "x86-64-v3", tmp_path / "out", batch=(1, 4), threads=1)
        with pytest.raises(TenfoldError, match="it can't run here"):
            net(image)
    assert {"reference.npz", "reference.2.npz"} <= set(names(tmp_path / "out"))
    assert all(manifest.verification is None for manifest in read_manifests(tmp_path / "out"))
    if not {"avx2", "fma"} <= detection.cpu_flags():
        pytest.skip("this CPU has no AVX2")
    for engine in ("onnxruntime", "kept in reference.npz"):
        first = tenfold.verify(tmp_path / "out")
        manifests = read_manifests(tmp_path / "out")
        assert first.to_json() == manifests[0].to_json() and len(manifests) == 2
        assert all(engine in manifest.verification["reference"] for manifest in manifests)
        model.unlink(missing_ok=True)
    os.remove(tmp_path / "out" / "reference.2.npz")
    with pytest.raises(TenfoldError, match=r"reference\.2\.npz: there is no such file"):
        tenfold.verify(tmp_path / "out")


def test_a_wrong_size_keeps_its_manifest(tmp_path):
    model = tmp_path / "net.onnx"
    onnx.save(tiny_network(batch="N"), model)
    tenfold.compile(model, output=tmp_path / "out", batch=(1, 4))
    before = [(tmp_path / "out" / name).read_bytes() for name in ("manifest.json", "manifest.2.json")]
    with pytest.raises(VerificationError):
        tenfold.verify(tmp_path / "out", tolerance=1e-12)
    assert [(tmp_path / "out" / name).read_bytes() for name in ("manifest.json", "manifest.2.json")] == before


@pytest.mark.slow
def test_on_another_device(tmp_path):
    """Each size goes there as an ordinary artifact."""
    from tenfold.runner.devices.artifacts import load_on
    from tenfold.runner.devices.choose import opened

    net = tenfold.compile(tiny_network(batch="N"), output=tmp_path / "out", batch=(1, 4), threads=1)
    target = Manifest.read(tmp_path / "out" / "manifest.json").target
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype("float32")
    with ended_after(Server()) as server, opened(server.address, target, lambda *step: None) as (device, _), warnings.catch_warnings():
        warnings.simplefilter("ignore", TenfoldWarning)
        there = load_on(device, tmp_path / "out")
        np.testing.assert_array_equal(there(x), net(x))
        assert there.folder == there.sizes[1].folder == tmp_path / "out"


def test_references_say_whether_images_are_independent():
    from tenfold.frontends import load

    nodes = [("Relu", ["x"], ["r"], {}), ("Softmax", ["r"], ["y"], {"axis": 1})]
    networks = [load(network(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}), batch=batch) for batch in (3, 5)]
    assert compile_sizes.are_independent(networks)
    nodes[1] = ("ReduceMean", ["r"], ["y"], {"axes": [0], "keepdims": 1})
    mixed = [("Sub", ["x", "y"], ["z"], {})]
    networks = [load(network([*nodes, *mixed], {"x": ["n", 4]}, {"z": ["n", 4]}), batch=batch) for batch in (3, 5)]
    assert not compile_sizes.are_independent(networks)


@pytest.mark.slow
def test_the_command_line(tmp_path):
    from command_checks import tenfold as command

    onnx.save(tiny_network(batch="N"), tmp_path / "net.onnx")
    out = tmp_path / "out"
    done = command("compile", tmp_path / "net.onnx", "-o", out, "--batch", "1,4", "--json", tmp_path / "c.json")
    assert done.code == 0 and "size      image 4x3x8x8" in done.out and "kB for all sizes, where a file for each would make" in done.out
    content = json.loads((tmp_path / "c.json").read_text())
    assert [each["inputs"][0]["shape"][0] for each in content["sizes"]] == [1, 4] and content["manifest"] == content["sizes"][0]
    done = command("inspect", out)
    assert done.code == 0 and done.out.count("files     ") == 2 and "model.2.so" in done.out
    done = command("verify", out)
    assert done.code == 0 and done.out.count("verified ") == 2 and "manifest.2.json" in done.out
    np.save(tmp_path / "x.npy", np.ones((6, 3, 8, 8), "float32"))
    done = command("run", out, "--input", tmp_path / "x.npy")
    assert done.code == 0 and "scores: float32[6, 5]" in done.out and "a batch of 6 runs as 4 + 2 x 1" in done.err
    for options, batch in (([], 1), (["--batch", 4], 4), (["--input-shape", "image=4,3,8,8"], 4)):
        done = command("bench", out, "--runs", 1, "--json", tmp_path / "b.json", *options)
        assert done.code == 0 and [row["batch"] for row in json.loads((tmp_path / "b.json").read_text())["rows"]] == [batch]
    shapes = ["--input-shape", "image=2,3,8,8", "--input-shape", "image=3,3,8,8"]
    done = command("compile", tmp_path / "net.onnx", "-o", out, *shapes)
    assert done.code == 0 and "size      image 3x3x8x8" in done.out
    for arguments, words in (
        (["bench", out, "--batch", 5], "it has no such size, but: image 2x3x8x8; image 3x3x8x8"),
        (["compile", tmp_path / "net.onnx", "-o", out, "--batch", "1,x"], "'1,x' is no batch"),
        (["compile", tmp_path / "net.onnx", "-o", out, "--batch", "1,1"], "batch 1 is given twice"),
        (["inspect", tmp_path / "net.onnx", "--batch", "1,4"], "several sizes at once are for compile"),
    ):
        done = command(*arguments)
        assert done.code == 2 and words in done.err and done.err.count("\n") == 1
