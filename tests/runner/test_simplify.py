"""`simplify` and what the other verbs do of it: a file that is verified and marked, figures in manifests, plans for merged layers."""
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import tenfold
from simplify_checks import Builder, kinds
from tenfold import TenfoldError, VerificationError


def repvgg() -> onnx.ModelProto:
    """Two blocks, and a dense layer."""
    b, x = Builder(1, 4, 8, 8), "x"
    for name in ("first", "second"):
        wide, point = b.conv(x, f"{name}.wide", 4, 4, pads=[1] * 4), b.conv(x, f"{name}.point", 4, 4, (1, 1))
        y = b.add("Add", b.add("Add", wide, point, name=f"{name}.sum"), b.batch_norm(x, f"{name}.same", 4), name=f"{name}.sums")
        x = b.add("Relu", y, name=f"{name}.relu")
    x = b.add("Flatten", b.add("GlobalAveragePool", x, name="mean"), name="flat")
    return b.model(b.add("Gemm", x, b.normal("classes.weight", 4, 10), name="classes"))


def test_it_writes_a_network_that_is_verified_and_marked(tmp_path):
    model, output = tmp_path / "model.onnx", tmp_path / "small.onnx"
    onnx.save(repvgg(), model)
    done = tenfold.simplify(model, output)
    assert done.bytes == output.stat().st_size and done.verified.inputs == 2
    small = onnx.load(output)
    assert kinds(small) == ["Conv", "Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert {merge.into for merge in done.simplified.merges} == {"first.wide", "second.wide"}
    json.dumps(done.to_dict())
    again = tenfold.simplify(output, tmp_path / "again.onnx")
    assert not again.simplified.merges and tenfold.inspect(output).macs == done.simplified.after.macs


def test_the_figures_are_those_of_the_inventory(tmp_path):
    done, before = tenfold.simplify(repvgg()), tenfold.inspect(repvgg(), simplify=False)
    after = tenfold.inspect(repvgg())
    assert (done.simplified.before.macs, done.simplified.before.params) == (before.macs, before.params)
    assert (done.simplified.after.macs, done.simplified.after.params) == (after.macs, after.params)
    assert before.simplified is None and after.to_dict()["simplified"] == done.simplified.to_dict()
    assert [report.layer.name for report in after] == ["first.wide", "second.wide", "classes"]


def test_a_file_of_someone_else_is_not_replaced(tmp_path):
    model, other = tmp_path / "model.onnx", tmp_path / "other.onnx"
    onnx.save(repvgg(), model)
    other.write_bytes(model.read_bytes())
    for path, words in ((other, "no result of tenfold simplify"), (model, "is the"), (tmp_path / "x.bin", "ends in .onnx"),
                        (tmp_path / "no" / "x.onnx", "does not exist")):
        content = path.read_bytes() if path.exists() else None
        with pytest.raises(TenfoldError, match=None) as caught:
            tenfold.simplify(model, path)
        assert str(path) in str(caught.value) and (words in str(caught.value) or path == model)
        assert (path.read_bytes() if path.exists() else None) == content
    other.write_text("no network")
    with pytest.raises(TenfoldError, match="no result of tenfold simplify"):
        tenfold.simplify(model, other)
    tenfold.simplify(model, tmp_path / "small.onnx")
    tenfold.simplify(model, tmp_path / "small.onnx")


def test_rewrites_can_be_chosen():
    assert not tenfold.simplify(repvgg(), without=["branches"]).simplified.merges
    assert tenfold.simplify(repvgg(), only=["branches"]).simplified.merges
    for chosen in ({"only": ["branch"]}, {"without": ["branch"]}):
        with pytest.raises(TenfoldError, match="there is no rewrite 'branch': they are common, affine"):
            tenfold.simplify(repvgg(), **chosen)
    with pytest.raises(TenfoldError, match="leave it out"):
        tenfold.simplify(repvgg(), simplify=False)


def test_a_wrong_rewrite_is_found_and_nothing_is_written(tmp_path, monkeypatch):
    from tenfold.passes.simplify import branches

    monkeypatch.setattr(branches, "added", lambda a, b, grid: a if a.grid == grid else b)  # a branch is lost
    model = tmp_path / "model.onnx"
    onnx.save(repvgg(), model)
    with pytest.raises(VerificationError, match="differs"):
        tenfold.simplify(model, tmp_path / "small.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_an_artifact_says_what_was_merged_and_is_verified_with_it(tmp_path):
    model, folder = tmp_path / "model.onnx", tmp_path / "artifact"
    onnx.save(repvgg(), model)
    artifact = tenfold.compile(model, output=folder)
    merged = artifact.manifest.simplified
    assert merged["before"]["macs"] > merged["after"]["macs"] == artifact.manifest.macs and len(merged["merges"]) >= 2
    assert tenfold.verify(folder).simplified == merged
    plain = tenfold.compile(model, output=tmp_path / "plain", simplify=False)
    assert plain.manifest.simplified is None and plain.manifest.macs == merged["before"]["macs"]
    x = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype("float32")
    np.testing.assert_allclose(artifact(x), plain(x), atol=1e-4 * np.abs(plain(x)).max())


@pytest.mark.slow
def test_compress_factors_the_merged_layers_and_its_result_is_not_multiplied_out(tmp_path):
    model = tmp_path / "model.onnx"
    onnx.save(repvgg(), model)
    done = tenfold.compress(model, tmp_path / "small", tenfold.Recipe("spatial_svd", energy=0.6))
    assert {layer.name for layer in done.layers} == {"first.wide", "second.wide", "classes"} and done.plan.layers
    again = tenfold.simplify(Path(tmp_path / "small" / "model.onnx"))
    assert again.simplified.before.macs == again.simplified.after.macs == done.after.macs
