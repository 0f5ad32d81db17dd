"""`quantize` from the outside: what it writes and tells, its settings, and what it refuses."""
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import tenfold
from conftest import tiny_network
from onnx import numpy_helper
from simplify_checks import Builder, kinds, run
from tenfold import QuantizationSettings, TenfoldError
from tenfold.frontends.reference.session import session_run

MODELS = Path(tenfold.__file__).parent / "examples" / "models"


def images(count: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype("float32")


def labelled(model: onnx.ModelProto, count: int = 40) -> dict[str, np.ndarray]:
    """Images, and for labels what the network says of them."""
    x = images(count)
    answer = session_run(model)
    return {"x": x, "y": np.array([answer({"image": one[None]})[0].argmax() for one in x])}


def test_it_writes_a_network_in_integers_that_is_marked(tmp_path):
    model, output = tmp_path / "model.onnx", tmp_path / "q.onnx"
    onnx.save(tiny_network(), model)
    done = tenfold.quantize(model, output, data=labelled(tiny_network()))
    assert done.after.bytes == output.stat().st_size and done.before.accuracy == 1 and done.after.accuracy >= 0.9
    assert done.agreement == done.after.accuracy and done.judged_images == done.calibration_images == 40
    made = onnx.load(output)
    assert kinds(made).count("Conv") == 1 and [node.name for node in made.graph.node if node.op_type in ("Conv", "Gemm")] == ["conv", "fc"]
    assert [value.name for value in (*made.graph.input, *made.graph.output)] == ["image", "scores"]
    weights = [numpy_helper.to_array(tensor) for tensor in made.graph.initializer]
    assert sorted(w.dtype.name for w in weights if w.size > 8) == ["int8", "int8"] and "int32" in {w.dtype.name for w in weights}
    assert {layer.name: layer.reason for layer in done.layers} == {"conv": None, "fc": None} and done.quantized == 2
    assert all(20 < layer.snr < 60 for layer in done.layers) and done.layers[1].output_step is None
    assert done.snr == {"scores": done.layers[1].snr}
    json.dumps(done.to_dict(), allow_nan=False)
    tenfold.quantize(model, output, data=images())  # its own file is replaced
    with pytest.raises(TenfoldError, match="no result of tenfold quantize"):
        tenfold.quantize(output, model, data=images())


def test_the_noise_that_it_tells_is_that_of_the_files(tmp_path):
    done, x = tenfold.quantize(tiny_network(batch="n"), batch=8, data=images(8)), images(8)
    (float_scores,), (scores,) = run(tiny_network(batch="n"), {"image": x}), run(done.onnx, {"image": x})
    expected = 10 * np.log10(np.square(float_scores, dtype=float).sum() / np.square(scores - float_scores, dtype=float).sum())
    assert done.snr["scores"] == pytest.approx(expected, abs=0.3)  # ONNX Runtime's integer kernels round in their own way


def test_held_out_images_do_not_calibrate():
    """Those that are held out are a hundred times as large: none of the ranges reaches that far, and they saturate."""
    x = images()
    held = np.arange(40) < 10
    x[held] *= 100
    done = tenfold.quantize(tiny_network(), data={"x": x, "held_out": held})
    assert (done.calibration_images, done.judged_images) == (30, 10) and done.layers[0].input_step * 255 < 12
    assert tenfold.quantize(tiny_network(), data={"x": x}).layers[0].input_step * 255 > 100
    assert done.snr["scores"] < 10


def test_beyond_the_calibrated_range_outputs_saturate():
    done = tenfold.quantize(tiny_network(), data=images())
    answer = session_run(done.onnx)
    large, larger = (answer({"image": factor * (1 + np.abs(images(1)))})[0] for factor in (10, 100))
    np.testing.assert_array_equal(large, larger)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "options",
    [{"calibration": "minmax"}, {"calibration": "percentile"}, {"calibration": "kl"}, {"activations": "int8"}, {"per_channel": False},
     {"equalize": False}, {"clip_weights": True}, {"feedback": False}, {"correct_bias": False, "feedback": False}],
)
def test_every_setting_gives_a_network_that_answers_alike(options):
    done = tenfold.quantize(tiny_network(), data=labelled(tiny_network()), settings=QuantizationSettings(**options))
    assert done.after.accuracy >= 0.85 and done.snr["scores"] > 18
    assert done.equalized == (0 if options.get("equalize") is False else 1)
    scales = [node.input[1] for node in done.onnx.graph.node if node.op_type == "DequantizeLinear" and "weight.quantized" in node.input[0]]
    sizes = {tuple(tensor.dims) for tensor in done.onnx.graph.initializer if tensor.name in scales}
    assert sizes == ({()} if options.get("per_channel") is False else {(8,), (5,)})


def test_feedback_and_bias_correction_make_outputs_better():
    """In steps that are coarse, because the weights of one channel are large."""
    model = tiny_network(features=32, classes=10)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("weight"):
            array = numpy_helper.to_array(tensor).copy()
            array[0] *= 30
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    # Images of which all pixels move together: what the images of a camera do.
    x = (images(64) * 0.3 + np.random.default_rng(1).uniform(0, 2, (64, 1, 1, 1))).astype("float32")
    rough = {"per_channel": False, "equalize": False}
    plain = tenfold.quantize(model, data=x, settings=QuantizationSettings(**rough, feedback=False, correct_bias=False)).layers[0].snr
    fed = tenfold.quantize(model, data=x, settings=QuantizationSettings(**rough, correct_bias=False)).layers[0].snr
    both = tenfold.quantize(model, data=x, settings=QuantizationSettings(**rough)).layers[0].snr
    assert fed > plain + 1 and both > plain + 1


def test_layers_that_are_kept():
    done = tenfold.quantize(tiny_network(), data=images(), settings=QuantizationSettings(keep=("fc",)))
    assert [layer.reason for layer in done.layers] == [None, "as asked"]
    with pytest.raises(TenfoldError, match="no layer 'dense' to keep: they are conv, fc"):
        tenfold.quantize(tiny_network(), data=images(), settings=QuantizationSettings(keep=("dense",)))
    with pytest.raises(TenfoldError, match="nothing to quantize: conv: as asked"):
        tenfold.quantize(tiny_network(), data=images(), settings=QuantizationSettings(keep_ends=True))


def test_several_inputs_and_no_classifier():
    b = Builder(1, 3, 8, 8)
    b.inputs.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 4, 6, 6]))
    model = b.model(b.add("Add", b.conv("x", "one", 4, 3), "z", name="sum"))
    done = tenfold.quantize(model, data={"x": images(), "z": np.random.default_rng(0).standard_normal((40, 4, 6, 6)).astype("float32")})
    assert done.before.accuracy is None and done.agreement is None and done.snr["sum_y"] > 25


def test_a_factored_network_is_quantized_stage_by_stage(tmp_path):
    compressed = tenfold.compress(tiny_network(), tmp_path / "out", tenfold.Recipe("tucker2", 0.8))
    assert compressed.plan.layers
    done = tenfold.quantize(tmp_path / "out" / "model.onnx", data=images())
    assert [layer.name for layer in done.layers if layer.reason is None] == ["conv.1", "conv.2", "fc"]  # conv.0 keeps all inputs: merged
    assert done.snr["scores"] > 15


@pytest.mark.parametrize("name, classes", [("cifar10_jin_baseline", 10), ("cifar10_vgg", 10)])
@pytest.mark.slow
def test_the_bundled_networks_lose_half_a_point_at_the_most(name, classes, tmp_path):
    done = tenfold.quantize(MODELS / f"{name}.onnx", tmp_path / "q.onnx", data=MODELS / "cifar10_test_500.npz")
    assert done.quantized == len(done.layers) and all(layer.snr > 25 for layer in done.layers)
    assert done.after.accuracy >= done.before.accuracy - 0.005 and done.after.bytes < 0.27 * done.before.bytes
    with np.load(MODELS / "cifar10_test_500.npz") as data:
        x, y = data["x"], data["y"]
    answer = session_run(tmp_path / "q.onnx")
    right = np.mean([answer({done.onnx.graph.input[0].name: one[None]})[0].argmax() == label for one, label in zip(x, y, strict=True)])
    assert abs(right - done.after.accuracy) <= 0.006  # the file as it is, its pairs not merged
    openvino = pytest.importorskip("openvino")
    network = openvino.Core().compile_model(str(tmp_path / "q.onnx"), "CPU")
    theirs = np.mean([network(one[None])[0].argmax() == label for one, label in zip(x, y, strict=True)])
    assert theirs >= done.before.accuracy - 0.01


@pytest.mark.parametrize(
    "data, words",
    [
        (None, "needs images to calibrate with"),
        (np.full((20, 3, 8, 8), np.nan, "float32"), "holds NaN or infinity"),
        (np.zeros((20, 3, 9, 8), "float32"), "has shape"),
        (np.zeros((20, 3, 8, 8)), "has dtype float64"),
        ({"x": images(20), "y": np.full(20, 7)}, "y goes from 7 to 7: the network has classes 0 to 4"),
        ({"x": images(20), "y": np.zeros(20)}, "labels are whole numbers"),
        ({"x": images(20), "held_out": np.ones(20, bool)}, "held_out names all of the images"),
    ],
)
def test_data_that_it_refuses(data, words, tmp_path):
    with pytest.raises(TenfoldError, match=words):
        tenfold.quantize(tiny_network(), tmp_path / "q.onnx", data=data)
    assert not list(tmp_path.iterdir())


def test_networks_that_it_refuses():
    done = tenfold.quantize(tiny_network(), data=images())
    with pytest.raises(TenfoldError, match="it is quantized already"):
        tenfold.quantize(done.onnx, data=images())
    b = Builder(1, 3, 8, 8)
    with pytest.raises(TenfoldError, match="nothing to quantize: it has no convolution and no dense layer"):
        tenfold.quantize(b.model(b.add("Sigmoid", "x", name="s")), data=images())
    b = Builder(1, 3, 8, 8)
    overflowing = b.add("Exp", b.add("Mul", "x", b.constant("c", np.float32(1e3)), name="m"), name="e")
    with pytest.raises(TenfoldError, match="NaN or infinity on the data"):
        tenfold.quantize(b.model(b.conv(overflowing, "one", 4, 3)), data=np.abs(images()))
    for wrong in ({"calibration": "best"}, {"activations": "int4"}):
        with pytest.raises(TenfoldError, match="choose"):
            QuantizationSettings(**wrong)
