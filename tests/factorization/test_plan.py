"""Plans: made by energy, written, edited, read back, checked against a network, carried out."""
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, random_weight, run_chain, run_layer
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Choice, Layer, Plan
from tenfold.support.errors import TenfoldError

HASH = "0123456789abcdef" * 4


def _named(layer, name):
    return Layer(**{**layer.__dict__, "name": name})


CONV = _named(conv_layer(16, 12, 5, 5, padding=(2, 2, 2, 2), size=(9, 9)), "/features/0/Conv")
DEPTHWISE = _named(conv_layer(16, 1, 3, 3, groups=16, size=(9, 9)), "depthwise")
DENSE = Layer("fc", "dense", (20, 30), batch=2)
DYNAMIC = Layer("dynamic", "dense", (20, 30), reason="the weight is not constant")
LAYERS = [CONV, DEPTHWISE, DENSE, DYNAMIC]
WEIGHTS = {layer.name: random_weight(layer, seed) for seed, layer in enumerate((CONV, DEPTHWISE, DENSE))}
PLAN = Plan(
    HASH,
    "x86-64-v3",
    {CONV.name: Choice("tucker2", (4, 8)), DENSE.name: Choice("svd", (5,))},
    {DEPTHWISE.name: "depthwise: nothing to factor", DYNAMIC.name: "the weight is not constant"},
)


def _fails(call, *parts):
    with pytest.raises(TenfoldError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_text_of_a_plan():
    assert PLAN.to_json() == f"""{{
  "version": 1,
  "model": "{HASH}",
  "target": "x86-64-v3",
  "layers": {{
    "/features/0/Conv": {{"method": "tucker2", "ranks": [4, 8], "metric": "frobenius"}},
    "fc": {{"method": "svd", "ranks": [5], "metric": "frobenius"}}
  }},
  "refused": {{
    "depthwise": "depthwise: nothing to factor",
    "dynamic": "the weight is not constant"
  }}
}}
"""


@PROPERTY
@given(
    names=st.lists(st.text(), unique=True, max_size=4),
    data=st.data(),
    model=st.text(),
    target=st.text(),
    refused=st.dictionaries(st.text(), st.text(), max_size=3),
)
def test_json_round_trip(names, data, model, target, refused):
    layers = {}
    for name in names:
        ranks = data.draw(st.lists(st.integers(1, 10**6), max_size=3))
        layers[name] = Choice(data.draw(st.sampled_from(list(METHODS))), tuple(ranks))
    plan = Plan(model, target, layers, refused)
    text = plan.to_json()
    read = Plan.from_json(text)
    assert read == plan and list(read.layers) == names
    assert read.to_json() == text
    assert json.loads(text)["version"] == 1


def test_file_round_trip(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("an older plan")
    PLAN.write(path)
    assert Plan.read(path) == PLAN and Plan.read(str(path)) == PLAN
    assert os.listdir(tmp_path) == ["plan.json"]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # the mark that some editors put first
    assert Plan.read(path) == PLAN


def test_a_plan_written_by_hand():
    text = '{"version": 1, "model": "m", "target": "t", "layers": {"a": {"method": "svd", "ranks": [3]}}}'
    assert Plan.from_json(text) == Plan("m", "t", {"a": Choice("svd", (3,), "frobenius")}, {})


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    _fails(lambda: PLAN.write(path), str(path), "No space left on device")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["plan.json"]


def test_where_a_plan_cant_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "no" / "plan.json", tmp_path / "file" / "plan.json", tmp_path):
        _fails(lambda path=path: PLAN.write(path), str(path), "can't be written")
    assert os.listdir(tmp_path) == ["file"]


def test_where_a_plan_cant_be_read(tmp_path):
    path = tmp_path / "plan.json"
    _fails(lambda: Plan.read(path), str(path), "No such file")
    _fails(lambda: Plan.read(tmp_path), str(tmp_path), "can't be read")
    path.write_bytes(b"\xff\xfe\x00")
    _fails(lambda: Plan.read(path), str(path), "not UTF-8")
    path.write_text(PLAN.to_json()[:-10])
    _fails(lambda: Plan.read(path), str(path), "not JSON at line")


def _edited(**fields):
    document = {**json.loads(PLAN.to_json()), **fields}
    return json.dumps({name: value for name, value in document.items() if value is not None})


def _with_choice(**fields):
    choice = {"method": "svd", "ranks": [5], **fields}
    return _edited(layers={"fc": {name: value for name, value in choice.items() if value is not None}})


@pytest.mark.parametrize(
    "text, parts",
    [
        ("", ["not JSON at line 1, column 1"]),
        ("{", ["not JSON"]),
        ("[]", ["a JSON object was expected"]),
        ("null", ["a JSON object was expected"]),
        ("[" * 100_000, ["nested too deeply"]),
        ('{"version": ' + "1" * 5000 + "}", ["thousands of digits"]),
        ("{}", ["no field 'version'"]),
        (_edited(version=2), ["version 2"]),
        (_edited(version=True), ["version True"]),
        (_edited(version="1"), ["version '1'"]),
        (_edited(layer={}), ["unknown field 'layer'"]),
        (_edited(model=None), ["field 'model' is missing"]),
        (_edited(target=None), ["field 'target' is missing"]),
        (_edited(layers=None), ["field 'layers' is missing"]),
        (_edited(model=3), ["field 'model' must be a string"]),
        (_edited(layers=[]), ["field 'layers' must be an object"]),
        (_edited(refused={"a": 3}), ["layer 'a'", "the reason must be a string"]),
        (_edited(layers={"fc": "svd"}), ["layer 'fc'", "an object with method and ranks"]),
        (_with_choice(method="tucker3"), ["layer 'fc'", "unknown method 'tucker3'", "svd, spatial_svd, channel_svd, tucker2"]),
        (_with_choice(method=["svd"]), ["layer 'fc'", "unknown method"]),
        (_with_choice(method=None), ["layer 'fc'", "field 'method' is missing"]),
        (_with_choice(ranks=None), ["layer 'fc'", "field 'ranks' is missing"]),
        (_with_choice(rank=3), ["layer 'fc'", "unknown field 'rank'"]),
        (_with_choice(metric="other"), ["layer 'fc'", "unknown metric 'other'"]),
        (_with_choice(ranks=5), ["layer 'fc'", "ranks 5"]),
        (_with_choice(ranks=[0]), ["layer 'fc'", "ranks [0]"]),
        (_with_choice(ranks=[5.0]), ["layer 'fc'", "ranks [5.0]"]),
        (_with_choice(ranks=[True]), ["layer 'fc'", "ranks [true]"]),
        ('{"version": 1, "layers": {"a": {}, "a": {}}}', ["'a' stands there twice"]),
    ],
)
def test_text_that_is_no_plan(text, parts):
    _fails(lambda: Plan.from_json(text, "my/plan.json"), "my/plan.json: ", *parts)


def test_check_accepts_its_own_network():
    PLAN.check(LAYERS, HASH)


def test_plan_of_another_model():
    _fails(lambda: PLAN.check(LAYERS, "f" * 64), "the plan was made for model '0123456789ab'", "'ffffffffffff'")


@pytest.mark.parametrize(
    "name, choice, parts",
    [
        ("fc2", Choice("svd", (1,)), ["layer 'fc2'", "not in the model"]),
        ("fc", Choice("tucker3", (1,)), ["layer 'fc'", "unknown method 'tucker3'"]),
        ("fc", Choice("svd", (1,), "other"), ["layer 'fc'", "unknown metric 'other'"]),
        ("fc", Choice("svd", (21,)), ["layer 'fc'", "rank 21 of svd is out of range: 1 to 20"]),
        ("fc", Choice("svd", (0,)), ["layer 'fc'", "rank 0 of svd is out of range: 1 to 20"]),
        ("fc", Choice("svd", (2, 2)), ["layer 'fc'", "svd takes 1 rank, not 2"]),
        ("fc", Choice("svd", ()), ["layer 'fc'", "svd takes 1 rank, not 0"]),
        (CONV.name, Choice("tucker2", (13, 16)), [CONV.name, "rank 13 of tucker2 is out of range: 1 to 12"]),
        (CONV.name, Choice("svd", (1,)), [CONV.name, "method svd does not apply", "dense layers only"]),
        ("depthwise", Choice("channel_svd", (1,)), ["layer 'depthwise'", "nothing to factor"]),
        ("dynamic", Choice("svd", (1,)), ["layer 'dynamic'", "the weight is not constant"]),
    ],
)
def test_choices_that_dont_fit_the_network(name, choice, parts):
    plan = Plan(HASH, "t", {name: choice})
    _fails(lambda: plan.check(LAYERS, HASH), *parts)
    _fails(lambda: plan.chains(LAYERS, WEIGHTS), *parts)


def test_chains_compute_their_layers():
    full = {layer.name: Choice(m, METHODS[m].max_ranks(layer)) for layer, m in ((CONV, "tucker2"), (DENSE, "svd"))}
    chains = Plan(HASH, "t", full).chains(LAYERS, WEIGHTS)
    assert list(chains) == [CONV.name, DENSE.name]
    for layer in (CONV, DENSE):
        x = np.random.default_rng(0).standard_normal((2, layer.in_channels, *layer.input_size))
        expected = run_layer(layer, WEIGHTS[layer.name], x)
        np.testing.assert_allclose(run_chain(chains[layer.name], x)[0], expected, atol=1e-5 * np.abs(expected).max())
        assert all(stage.bias is None for stage in chains[layer.name].stages)
    truncated = PLAN.chains(LAYERS, WEIGHTS)
    assert [stage.weight.shape[0] for stage in truncated[CONV.name].stages] == [4, 8, 16]


@pytest.mark.parametrize(
    "weights, part",
    [
        ({}, "its weight is missing"),
        ({"fc": np.ones((30, 20), np.float32)}, "the weight is of shape 30 x 20, the layer's of 20 x 30"),
        ({"fc": np.full((20, 30), np.nan, np.float32)}, "NaN or infinite"),
    ],
)
def test_weights_that_dont_fit(weights, part):
    plan = Plan(HASH, "t", {"fc": Choice("svd", (3,))})
    _fails(lambda: plan.chains(LAYERS, weights), "layer 'fc'", part)


def test_a_plan_with_a_correction_is_not_carried_out_without_it():
    _fails(lambda: replace(PLAN, data="ab", correction="response").chains(LAYERS, WEIGHTS), "corrects", "--data")


def test_by_energy_auto():
    wide = Layer("wide", "dense", (60, 80), batch=2)
    layers, weights = [*LAYERS, wide], {**WEIGHTS, "wide": random_weight(wide, 3)}
    plan = Plan.by_energy(layers, weights, HASH, "host", "auto", energy=0.5, multiple=2)
    assert (plan.model, plan.target) == (HASH, "host")
    assert list(plan.layers) == [CONV.name, "wide"]
    assert plan.layers["wide"].method == "svd" and METHODS[plan.layers[CONV.name].method].kind == "conv2d"
    assert all(rank % 2 == 0 for choice in plan.layers.values() for rank in choice.ranks)
    plan.check(layers, HASH)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan == Plan.by_energy(layers, weights, HASH, "host", "auto", energy=0.5, multiple=2)


def test_by_energy_auto_leaves_minor_layers_alone():
    """fc has 600 of 6144 parameters, less than half of a fourth, and still fewer MACs; one method by name factors it all the same."""
    plan = Plan.by_energy(LAYERS, WEIGHTS, HASH, "host", "auto", 0.5, 2)
    assert list(plan.layers) == [CONV.name]
    assert plan.refused["fc"] == "minor: 0.3% of the MACs and 9.8% of the parameters, not worth its error"
    assert {k: v for k, v in plan.refused.items() if k != "fc"} == PLAN.refused
    assert "fc" in Plan.by_energy(LAYERS, WEIGHTS, HASH, "host", "svd", 0.5, 2).layers


def test_by_energy_with_one_method():
    plan = Plan.by_energy(LAYERS, WEIGHTS, HASH, "host", "spatial_svd", 0.5, 1)
    assert [choice.method for choice in plan.layers.values()] == ["spatial_svd"]
    assert plan.refused[DENSE.name] == "method spatial_svd factors conv2d layers only"
    assert plan.refused["depthwise"] == "depthwise: nothing to factor"
    plan = Plan.by_energy(LAYERS, WEIGHTS, HASH, "host", "svd", 0.5, 1)
    assert list(plan.layers) == [DENSE.name] and plan.refused[CONV.name] == "method svd factors dense layers only"


def test_by_energy_refuses_what_does_not_pay():
    plan = Plan.by_energy(LAYERS, WEIGHTS, HASH, "host", "auto", 1.0, 1)
    assert not plan.layers
    assert plan.refused[DENSE.name] == f"svd at rank 20 would take {2 * 20 * 50} MACs, the dense layer takes {2 * 20 * 30}"
    assert f"the dense layer takes {CONV.macs}" in plan.refused[CONV.name]


@pytest.mark.parametrize(
    "options, parts",
    [
        ({"method": "tucker"}, ["unknown method 'tucker'", "auto, svd, spatial_svd, channel_svd, tucker2"]),
        ({"energy": 0.0}, ["energy 0.0"]),
        ({"energy": 1.5}, ["energy 1.5"]),
        ({"energy": float("nan")}, ["energy nan"]),
        ({"multiple": 0}, ["multiple 0"]),
        ({"weights": {}}, [f"layer '{CONV.name}'", "weight is missing"]),
        ({"weights": {**WEIGHTS, "fc": np.ones((3, 3), np.float32)}}, ["layer 'fc'", "the weight is of shape 3 x 3"]),
    ],
)
def test_by_energy_mistakes(options, parts):
    arguments = {"weights": WEIGHTS, "method": "auto", "energy": 0.5, "multiple": 1, **options}
    _fails(lambda: Plan.by_energy(LAYERS, model_hash=HASH, target_name="host", **arguments), *parts)
