"""`compile` with the precision int8: quantized, compiled, verified against the quantized network, and told in the manifest."""
import json

import numpy as np
import onnx
import pytest
import tenfold
from conftest import tiny_network
from tenfold import TenfoldError
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.frontends.reference.session import session_run
from tenfold.runner.inspect_artifact import inspect_artifact


def images(count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype("float32")


def test_it_is_quantized_and_verified_against_that(tmp_path, tiny_file):
    x = images()
    y = np.array([session_run(tiny_file)({"image": one[None]})[0].argmax() for one in x])
    np.savez(tmp_path / "d.npz", x=x, y=y)
    artifact = tenfold.compile(tiny_file, "host", tmp_path / "out", precision="int8", data=tmp_path / "d.npz")
    facts = artifact.manifest.quantization
    told = [facts[name] for name in ("precision", "calibration", "layers", "of", "calibration_images")]
    assert told == ["int8", "minmax", 2, 2, 40]
    assert facts["accuracy"] >= 0.9 and facts["accuracy_before"] == 1
    assert facts["model_sha256"] == tenfold.inspect(tiny_file).sha256 != artifact.manifest.model_sha256
    assert artifact.manifest.verification["max_rel_error"] < 0.02 and artifact.manifest.source["path"] is None
    done = tenfold.quantize(tiny_file, data=tmp_path / "d.npz")
    expected = session_run(done.onnx)
    for one in x[:10]:
        theirs = expected({"image": one[None]})[0]
        assert np.abs(artifact(one[None]) - theirs).max() <= 0.02 * np.abs(theirs).max()
    assert tenfold.load(tmp_path / "out").manifest.quantization == json.loads(json.dumps(facts))
    again = tenfold.verify(tmp_path / "out")  # by what is kept beside it: no file holds the quantized network
    assert again.verification["reference"] == f"{artifact.manifest.reference['engine']}, kept in reference.npz"


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "precision int8: quantizing needs images to calibrate with"),
        ({"data": images(), "plan": "plan.json"}, "precision int8 and a plan"),
        ({"data": np.zeros((20, 3, 9, 8), "float32")}, "has shape"),
    ],
)
def test_what_it_refuses(options, words, tmp_path):
    with pytest.raises(TenfoldError, match=words):
        tenfold.compile(tiny_network(), output=tmp_path / "out", precision="int8", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not finds_nvcc(), reason="no nvcc of CUDA 13: pip install tenfold[cuda]")
def test_for_a_gpu(tmp_path):
    """Emulated where there is none; each layer is in int8, and the manifest names the precision of each kernel."""
    artifact = tenfold.compile(tiny_network(), "sm_80", tmp_path / "out", precision="int8", data=images(), device="emulated:sm_80")
    manifest = artifact.manifest
    assert manifest.quantized["int8"] and not manifest.quantized["float32"]
    assert manifest.verification["device"] == "kernels emulated on the CPU"
    kernels = [kernel for kernel in manifest.kernels if kernel["macs"]]
    assert kernels and {kernel["precision"] for kernel in kernels} == {"int8"}
    assert [each.precision for each in inspect_artifact(tmp_path / "out").kernels if each.macs] == ["int8"] * len(kernels)


def test_a_folder_of_someone_else_is_told_before_the_work(tmp_path):
    (tmp_path / "out").mkdir()
    onnx.save(tiny_network(), tmp_path / "out" / "mine.onnx")
    with pytest.raises(TenfoldError, match="out"):
        tenfold.compile(tiny_network(), output=tmp_path / "out", precision="int8", data=np.zeros((1, 1)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.onnx"]
