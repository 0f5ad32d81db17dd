"""Channels scaled by what they are on images: the outputs stay, and channels in front of a depthwise layer fill the bytes alike."""
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quantize_checks import prepared, random_images, run
from simplify_checks import Builder
from tenfold.passes.quantize.smooth import smooth, smoothed_values
from tenfold.runner.quantize.observe import channel_peaks
from tenfold.runner.quantize.rewrite import quantize_graph
from tenfold.runner.quantize.settings import QuantizationSettings


def silent(*args, **more):
    """No progress."""


def uneven_stages(b: Builder, depthwise: bool) -> str:
    """Stages as of a factored layer, without ReLUs between, whose channels differ by factors of up to 1000, though all of them count."""
    first = b.conv("x", "a", 6, 3, (1, 1))
    result = b.conv(b.conv(first, "d", 6, 6, group=6) if depthwise else first, "p", 5, 6, (1, 1))
    factors = np.logspace(-1.5, 1.5, 6).astype("float32")
    for name, scale in (("a.weight", factors.reshape(6, 1, 1, 1)), ("p.weight", 1 / factors.reshape(1, 6, 1, 1))):
        tensor = next(tensor for tensor in b.constants if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * scale, tensor.name))
    return result


@pytest.mark.parametrize("depthwise", [True, False])
def test_the_outputs_stay_and_channels_are_alike(depthwise):
    b = Builder(2, 3, 8, 8)
    model = prepared(b.model(uneven_stages(b, depthwise)))
    x = random_images((2, 3, 8, 8))
    values = smoothed_values(model)
    peaks = channel_peaks(model, values, x, silent)
    made, pairs = smooth(model, peaks)
    onnx.checker.check_model(made, full_check=True)
    assert pairs == len(values) == (2 if depthwise else 1)
    for ours, theirs in zip(run(made, x), run(model, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    before, after = (peaks[values[0]], channel_peaks(made, values, x, silent)[values[0]])
    spread = [value.max() / value.min() for value in (before, after)]
    assert spread[0] > 100
    assert spread[1] == pytest.approx(1, rel=1e-3) if depthwise else spread[1] < spread[0] / 5


def test_bytes_say_more_then():
    """Of a chain of uneven stages: without scaling the small channels vanish between two steps."""
    b = Builder(2, 3, 8, 8)
    model, x = prepared(b.model(uneven_stages(b, True))), random_images((2, 3, 8, 8))
    (wanted,) = run(model, x)

    def error(equalize):
        settings = QuantizationSettings(calibration="minmax", equalize=equalize, feedback=False, correct_bias=False)
        (found,) = run(quantize_graph("net", model, x, 2, settings, silent).quantized, x)
        return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))

    assert error(True) < 0.2 * error(False)
