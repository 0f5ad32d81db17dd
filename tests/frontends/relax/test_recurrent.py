"""LSTM, GRU and RNN layers against ONNX Runtime, behind a convolution as in recognisers of text; their kernels are shared by all steps."""
from collections import Counter

import numpy as np
import onnx
import pytest
import tenfold
from frontend_checks import assert_imported_right, graph, normal
from tenfold.frontends import load

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OPTIONS = {
    "LSTM": ["", ", input_forget = 1", ", clip = 0.3", ', activations = ["HardSigmoid", "Tanh", "Relu"]'],
    "GRU": ["", ", linear_before_reset = 1", ", clip = 0.3", ', activations = ["HardSigmoid", "Softsign"]'],
    "RNN": ["", ', activations = ["Relu"]', ", clip = 0.3"],
}


def weights(kind: str, directions: int, features: int, hidden: int, batch: int) -> dict[str, np.ndarray]:
    gates = GATES[kind]
    result = {"w": normal(directions, gates * hidden, features), "r": normal(directions, gates * hidden, hidden)}
    result |= {"b": normal(directions, 2 * gates * hidden), "h": normal(directions, batch, hidden)}
    if kind == "LSTM":
        result |= {"c": normal(directions, batch, hidden, seed=1), "p": normal(directions, 3 * hidden)}
    return result


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind, option", [(kind, option) for kind, options in OPTIONS.items() for option in options])
def test_against_the_reference(kind, option, direction):
    directions = 2 if direction == "bidirectional" else 1
    if "activations" in option and directions == 2:
        inside = option[option.index("[") + 1 : option.index("]")]
        option = option.replace(inside, f"{inside}, {inside}")
    given = weights(kind, directions, 3, 4, 2)
    extra = ", c, p" if kind == "LSTM" and not option else ", c" if kind == "LSTM" else ""
    outputs = "y, last, cell" if kind == "LSTM" else "y, last"
    few = f'yf = {kind} <hidden_size = 4, direction = "{direction}"{option}> (x, w, r)'
    all_ = f'{outputs} = {kind} <hidden_size = 4, direction = "{direction}"{option}> (x, w, r, b, , h{extra})'
    signature = f"float[5,2,3] x => float yf, {', '.join(f'float {name}' for name in outputs.split(', '))}"
    assert_imported_right(load(graph(signature, f"{few} {all_}", given)), tolerance=2e-5)


def recogniser(steps: int, hidden: int) -> onnx.ModelProto:
    """Convolution, two LSTM layers of two directions, a dense layer for each step."""
    directions = {"direction": "bidirectional", "hidden": hidden}
    lstm = 'LSTM <hidden_size = {hidden}, direction = "{direction}">'.format(**directions)
    nodes = f"""
        c = Conv <strides = [8, 1], pads = [0, 1, 0, 1]> (x, cw)
        s = Squeeze (c, two)
        t = Transpose <perm = [2, 0, 1]> (s)
        a = {lstm} (t, w0, r0, b0)
        at = Transpose <perm = [0, 2, 1, 3]> (a)
        u = Reshape (at, merged)
        b = {lstm} (u, w1, r1, b1)
        bt = Transpose <perm = [0, 2, 1, 3]> (b)
        v = Reshape (bt, merged)
        y = MatMul (v, fw)
    """
    given = {"cw": normal(32, 3, 8, 3) / 8, "two": np.array([2]), "merged": np.array([0, 0, -1]), "fw": normal(2 * hidden, 40) / 8}
    for layer, features in enumerate((32, 2 * hidden)):
        parts = weights("LSTM", 2, features, hidden, 1)
        given |= {f"{name}{layer}": parts[name] / 8 for name in "wrb"}
    model = graph(f"float[1,3,8,{steps}] x => float y", nodes, given)
    for node, name in {0: "conv", 3: "first", 6: "second", -1: "scores"}.items():
        model.graph.node[node].name = name
    return model


@pytest.mark.slow
def test_a_recogniser_is_compiled_with_shared_kernels_and_its_convolution_is_a_layer():
    steps = 20
    model = recogniser(steps, 32)
    listed = {report.layer.name: report.layer for report in tenfold.inspect(model)}
    parts = [f"{layer}.{way}{part}" for layer in ("first", "second") for way in ("forward", "backward") for part in (".input", "")]
    assert list(listed) == ["conv", *parts, "scores"]
    assert [name for name, layer in listed.items() if layer.reason is None] == ["conv", "scores"]
    assert listed["first.forward"].macs == steps * 32 * 4 * 32
    artifact = tenfold.compile(model, "host")
    kernels = Counter(kernel["function"] for kernel in artifact.manifest.kernels)
    assert sum(kernels.values()) > 4 * steps * 3  # directions and layers, three kernels a step
    assert len(kernels) < 40


@pytest.mark.slow
def test_a_long_recogniser_is_compiled_with_as_many_kernels():
    kernels = Counter(kernel["function"] for kernel in tenfold.compile(recogniser(80, 64), "host").manifest.kernels)
    assert len(kernels) < 40
