"""`compile` with a size: weights of few values, kept as indices, verified, and told in the manifest."""
import numpy as np
import pytest
import tenfold
from conftest import tiny_network
from tenfold import TenfoldError
from tenfold.frontends.reference.session import session_run


def images(count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype("float32")


@pytest.mark.quick(1)
@pytest.mark.parametrize("size, worst", [("8", 0.01), ("5:round", 0.08), ("4:kmeans", 0.12)])
def test_the_file_shrinks_and_the_network_is_that_of_few_weights(size, worst, tmp_path):
    model = tiny_network(features=64, classes=40)
    x = images()
    answer = session_run(model)
    y = np.array([answer({"image": one[None]})[0].argmax() for one in x])
    plain = tenfold.compile(model, "host", tmp_path / "plain")
    artifact = tenfold.compile(model, "host", tmp_path / "out", size=size, data={"x": x, "y": y})
    facts, bits = artifact.manifest.clustering, int(size[0])
    assert (facts["bits"], facts["method"], facts["layers"]) == (bits, size.partition(":")[2] or "kmeans", 2)
    assert 0 < facts["weight_error"] < worst and facts["accuracy_before"] == 1 and 0.5 < facts["accuracy"] <= 1
    assert facts["numbers"] == 64 * 27 + 64 * 16 * 40 and facts["packed"] >= facts["numbers"]
    before, after = (folder.joinpath("weights.bin").stat().st_size for folder in (tmp_path / "plain", tmp_path / "out"))
    assert after < before * bits / 32 + 12_000  # the table, biases, values
    assert artifact.manifest.memory["weights"] == pytest.approx(plain.manifest.memory["weights"], rel=0.1)
    assert artifact.manifest.verification["max_rel_error"] < 1e-4  # against the network with these weights
    loaded = tenfold.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded(x[:1]), artifact(x[:1]))
    exact = answer({"image": x[:1]})[0]
    assert 1e-5 < np.abs(loaded(x[:1]) - exact).max() / np.abs(exact).max() < 4 * worst
    assert tenfold.verify(tmp_path / "out").verification["reference"].endswith("kept in reference.npz")


@pytest.mark.slow
def test_convolutions_by_winograd_are_left_out():
    """Their weights are other numbers, which do not take few values."""
    from simplify_checks import Builder

    b = Builder(1, 64, 32, 32)
    y = b.add("Relu", b.conv("x", "wide", 64, 64, pads=[1] * 4), name="r1")
    y = b.add("Relu", b.conv(y, "pooled", 64, 64, pads=[1] * 4), name="r2")
    model = b.model(b.add("MaxPool", y, name="p", kernel_shape=[2, 2], strides=[2, 2]))
    plain, small = tenfold.compile(model, "zen4"), tenfold.compile(model, "zen4", size="4")
    assert "winograd" in str(plain.manifest.choices) and "winograd" not in str(small.manifest.choices)
    assert small.manifest.clustering["packed"] >= 2 * 64 * 64 * 9 and small.manifest.bytes < 0.5 * plain.manifest.bytes


@pytest.mark.parametrize(
    "options, words",
    [
        ({"size": "9"}, "size '9': give BITS from 2 to 8"),
        ({"size": "5:hash"}, "size '5:hash'"),
        ({"size": "small"}, "size 'small'"),
        ({"size": "5", "target": "sm_80"}, "a size is of CPUs, sm_80 is a GPU"),
        ({"size": "5", "precision": "int8", "data": images()}, "a size and precision int8"),
        ({"size": "5", "plan": "plan.json"}, "a size and a plan"),
        ({"size": "5", "data": {"x": images(), "y": np.full(40, 9)}}, "y goes from 9 to 9"),
    ],
)
def test_what_it_refuses(options, words, tmp_path):
    with pytest.raises(TenfoldError, match=words):
        tenfold.compile(tiny_network(), output=tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())
