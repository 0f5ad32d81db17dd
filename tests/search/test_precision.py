"""A search that chooses the precision of each layer too: by time, with conversions, and within the budget; its plans replay."""
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import tenfold
from byte_device import NUMBERS, ByteDevice
from search_fakes import classifier, images, labels
from tenfold.factorization import Choice, Plan
from tenfold.schedules.cpu.backend import CpuBackend
from tenfold.search.budget import Budget
from tenfold.search.finetuning.options import Finetuning
from tenfold.search.precision.crossings import find_crossings
from tenfold.search.recipe import Recipe
from tenfold.search.settings import Settings
from tenfold.support.errors import TenfoldError
from typer.testing import CliRunner

NARROW, WIDE, LAST = "conv1", "conv2", "fc"  # of 32, 32 and 6 filters; the first of 4 channels
SLOW = 1.5  # times as long on bytes


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A model file, data, and a cache that the searches of this file share."""
    folder = tmp_path_factory.mktemp("precision")
    model, x = classifier(), images(200)
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "d.npz", x=x, y=labels(model, x))
    return folder


def within(work, output, device, drop=10, precision="auto", target="zen4", **settings):
    """A search that is timed by a device that computes its times: they are never kept for another one."""
    cache = output.parent / f"{output.name}-cache"
    options = Settings(**{"cache": cache, "methods": ("channel_svd",), "precision": precision, "correction": "bias", **settings})
    where = {"device": device, "target": target, "settings": options}
    return tenfold.compress(work / "net.onnx", output, Budget(max_drop=drop), data=work / "d.npz", **where)


@pytest.fixture(scope="module")
def mixed(work):
    """The last layer is slower on bytes, the others faster."""
    return within(work, work / "mixed", ByteDevice(ratios={6: SLOW})), work / "mixed"


def test_layers_take_what_is_faster(mixed):
    done, folder = mixed
    assert done.plan.precision == {NARROW: "int8", WIDE: "int8"}
    assert {layer.name: layer.precision for layer in done.layers} == {NARROW: "int8", WIDE: "int8", LAST: "float32"}
    last = next(layer for layer in done.layers if layer.name == LAST)
    assert last.precision_reason.startswith("not faster on bytes: 0.00")
    assert all(layer.precision_reason is None for layer in done.layers if layer is not last)
    assert done.after.ms < done.before.ms and done.search.verdict.drop <= 10
    assert "on_bytes" in json.loads((folder / "report.json").read_text())["layers"][0]


def test_the_network_is_the_mixed_one(mixed, work):
    """Quantizers stand before the layers on bytes and nowhere else; accuracy is that of the file that was written."""
    done, folder = mixed
    model = onnx.load(folder / "model.onnx")
    makers = {name: node for node in model.graph.node for name in node.output}
    kinds = {node.name.partition(".")[0]: makers[node.input[1]].op_type if node.input[1] in makers else "constant"
             for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")}  # fmt: skip
    assert kinds == {NARROW: "DequantizeLinear", WIDE: "DequantizeLinear", LAST: "constant"}
    assert done.after.bytes == (folder / "model.onnx").stat().st_size
    network, held_out = tenfold.frontends.load(folder / "model.onnx"), np.load(work / "d.npz")
    x, y = held_out["x"], held_out["y"]
    answers = np.array([network.reference({"x": image[None]})[0].argmax() for image in x])
    assert done.after.accuracy == pytest.approx((answers == y).mean(), abs=0.1)  # on another part of the images


def test_the_compiled_network_is_verified(mixed, tmp_path):
    _, folder = mixed
    artifact = tenfold.compile(folder / "model.onnx", "host", tmp_path / "a", tolerance=0.05)
    assert artifact.manifest.verification is not None
    if artifact.manifest.quantized["int8"]:
        assert {name.partition(".")[0] for name in artifact.manifest.quantized["int8"]} == {NARROW, WIDE}


def test_the_plan_replays_to_the_same_bytes(mixed, work, tmp_path):
    done, folder = mixed
    plan = Plan.read(folder / "plan.json")
    assert plan == done.plan
    again = tenfold.compress(work / "net.onnx", tmp_path / "again", folder / "plan.json", data=work / "d.npz")
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert {layer.name: layer.precision for layer in again.layers}[NARROW] == "int8"
    with pytest.raises(TenfoldError, match="compress --plan"):
        tenfold.compile(work / "net.onnx", plan=replace(plan, correction="none"))
    with pytest.raises(TenfoldError, match="layer 'nowhere' of the plan's precision"):
        wrong = replace(plan, precision={"nowhere": "int8"})
        tenfold.compress(work / "net.onnx", tmp_path / "no", wrong, data=work / "d.npz")


def test_a_plan_that_only_quantizes(work, mixed, tmp_path):
    plan = replace(mixed[0].plan, layers={}, precision={WIDE: "int8"})
    done = tenfold.compress(work / "net.onnx", tmp_path / "o", plan, data=work / "d.npz")
    assert [layer.precision for layer in done.layers] == ["float32", "int8", "float32"]
    assert done.after.params == done.before.params and done.after.bytes < done.before.bytes


def test_a_search_among_the_forms_of_a_plan(work, mixed, tmp_path):
    """What it looks at are these forms and no others, in both precisions."""
    plan = Plan.read(mixed[1] / "plan.json")
    whole = replace(plan, layers={WIDE: Choice("channel_svd", (16,), "covariance")}, precision={})
    done = within(work, tmp_path / "o", ByteDevice(ratios={6: SLOW}), methods=None, forms=whole)
    tried = {layer.layer.name: [option.candidate.choice for option in layer.options] for layer in done.search.surveys}
    assert tried == {NARROW: [], WIDE: [whole.layers[WIDE]], LAST: []}
    assert done.plan.precision == {NARROW: "int8", WIDE: "int8"}
    with pytest.raises(TenfoldError, match="give one of them"):
        Settings(forms=whole, methods=("svd",))


def test_all_of_int8_whatever_it_takes(work, tmp_path):
    done = within(work, tmp_path / "o", ByteDevice(ratios={6: SLOW}), precision="int8")
    assert done.plan.precision == {NARROW: "int8", WIDE: "int8", LAST: "int8"}


def test_conversions_are_counted(work, mixed, tmp_path):
    """Bytes save a layer less than it takes to convert what it reads: it stays in float32, and the reason says so."""
    free = ByteDevice(ratio=SLOW, ratios={6: 0.5})
    assert within(work, tmp_path / "free", free).plan.precision == {LAST: "int8"}
    dear = ByteDevice(ratio=SLOW, ratios={6: 0.5}, crossing=0.01 / 512 * NUMBERS)  # 0.01 ms for the 512 numbers that it reads
    done = within(work, tmp_path / "dear", dear)
    assert done.plan.precision == {}
    assert "conversions would take 0.01" in next(layer for layer in done.layers if layer.name == LAST).precision_reason


def test_nothing_is_gained_by_bytes(work, tmp_path):
    done = within(work, tmp_path / "o", ByteDevice(ratio=SLOW))
    assert done.plan.precision == {} and done.plan.layers
    assert all("not faster on bytes" in layer.precision_reason for layer in done.layers)
    assert "precision" not in json.loads((tmp_path / "o" / "plan.json").read_text())


def test_which_layers_read_which(work):
    network = tenfold.frontends.load(work / "net.onnx")
    found = find_crossings(network.onnx, {NARROW, WIDE, LAST})
    assert [(each.source, each.reader, each.to_bytes, each.to_float) for each in found.between] == [
        (NARROW, WIDE, 2048, 2048), (WIDE, LAST, 512, 2048),
    ]  # fmt: skip
    assert found.entries == {NARROW: 256}


def test_refusals(work, tmp_path, monkeypatch):
    def refused(match, **settings):
        with pytest.raises(TenfoldError, match=match):
            within(work, tmp_path / "o", ByteDevice(), **settings)
        assert not (tmp_path / "o").exists()

    refused("unknown: choose float32, int8, auto", precision="int4")
    with monkeypatch.context() as patch:
        patch.setattr(CpuBackend, "on_bytes", False)
        refused("--precision auto: target zen4 has no kernels of bytes")
    refused("training is in float32", finetuning=Finetuning(1))
    with pytest.raises(TenfoldError, match="--precision says what a budget may choose"):
        tenfold.compress(work / "net.onnx", tmp_path / "o", Recipe(), settings=Settings(precision="auto"))


def test_the_command_refuses_with_one_line(work, tmp_path):
    from tenfold.cli import app

    command = ["compress", str(work / "net.onnx"), "-o", str(tmp_path / "o"), "--precision", "auto"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "--precision says what a budget may choose" in result.stderr
    assert not (tmp_path / "o").exists()
