"""An artifact that could not be verified where it was compiled is verified later: here, elsewhere, with its model and without."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tenfold
from artifact_edits import edit, sign
from command_checks import tenfold as command
from conftest import tiny_network
from device_checks import Server
from onnx import TensorProto, helper
from tenfold.runner import kept_reference, verification
from tenfold.runtime.manifest import Manifest
from tenfold.support.errors import TenfoldError, VerificationError
from tenfold.targets import detection

TARGET = "x86-64-v3"


@pytest.fixture
def old_cpu(monkeypatch):
    """While it lasts, this machine has no AVX2, and no emulator."""
    with monkeypatch.context() as patch:
        patch.setattr("tenfold.runtime.requirements.cpu_flags", lambda: detection.cpu_flags() - {"avx2"})
        patch.setattr("tenfold.runner.devices.choose.emulator_for", lambda architecture: None)
        yield patch


@pytest.fixture(scope="module")
def unverified(tmp_path_factory):
    """A network, and its artifact from a machine that can't run it. To be copied."""
    folder = tmp_path_factory.mktemp("unverified")
    onnx.save(tiny_network(), folder / "net.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenfold.runtime.requirements.cpu_flags", lambda: detection.cpu_flags() - {"avx2"})
        patch.setattr("tenfold.runner.devices.choose.emulator_for", lambda architecture: None)
        tenfold.compile(folder / "net.onnx", TARGET, folder / "out", threads=1)
    return folder / "out"


@pytest.fixture
def artifact(unverified, tmp_path):
    """A copy, whose model is where it was."""
    shutil.copytree(unverified, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def alone(artifact):
    """A copy on a machine that does not have the model."""
    source = json.loads((artifact / "manifest.json").read_text())["source"]
    edit(artifact, source={**source, "path": "/nowhere/net.onnx"})
    return artifact


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def spoil(folder):
    """Make it wrong, and its manifest right about the file: weights of 1.5 times their size."""
    content = bytearray((folder / "weights.bin").read_bytes())
    weights = np.frombuffer(content, "float32", offset=4096)
    weights *= np.float32(1.5)
    (folder / "weights.bin").write_bytes(content)
    sign(folder)


def test_what_can_not_be_verified_says_so(unverified, image):
    manifest = Manifest.read(unverified / "manifest.json")
    assert names(unverified) == ["manifest.json", "model.so", "reference.npz", "weights.bin"]
    assert manifest.verification is None
    assert manifest.reference["engine"] == "onnxruntime" and manifest.reference["inputs"] == 2
    assert manifest.source["path"] == str(unverified.parent / "net.onnx")
    assert (unverified / "reference.npz").stat().st_size < 10_000


def test_what_can_not_run_here_can_be_compiled(old_cpu, tmp_path, image):
    net = tenfold.compile(tiny_network(), TARGET, tmp_path / "out", threads=1)
    assert net.threads == 1 and net.outputs[0].shape == (1, 5)
    with pytest.raises(TenfoldError, match=f"it can't run here: {TARGET} needs avx2, which this machine lacks"):
        net(image)
    with pytest.raises(TenfoldError, match=f"can't run here: {TARGET} needs avx2.*tenfold verify .*out --device HOST:PORT"):
        tenfold.verify(tmp_path / "out")
    with pytest.raises(TenfoldError, match="device here: it can't run target"):
        tenfold.verify(tmp_path / "out", device="here")
    assert net.manifest.verification is None and net.manifest.source["path"] is None


def test_it_is_verified_with_its_model(artifact, image):
    done = tenfold.verify(artifact)
    assert done.to_json() == (artifact / "manifest.json").read_text() == Manifest.read(artifact / "manifest.json").to_json()
    check = done.verification
    assert (check["device"], check["reference"], check["inputs"]) == ("here", "onnxruntime", 2)
    assert check["max_rel_error"] <= check["tolerance"] == 1e-4
    assert names(artifact) == ["manifest.json", "model.so", "reference.npz", "weights.bin"]
    assert tenfold.load(artifact)(image).shape == (1, 5)


def test_it_is_verified_without_its_model(alone):
    before = Manifest.read(alone / "manifest.json")
    done = tenfold.verify(alone)
    assert done.verification["reference"] == "onnxruntime, kept in reference.npz" and done.verification["inputs"] == 2
    assert done.verification["max_rel_error"] <= 1e-4
    assert {**vars(done), "verification": None} == vars(before)
    assert tenfold.verify(alone).verification == done.verification  # as often as one likes


def test_without_its_model_no_other_engine_is_needed(alone):
    program = (
        "import sys, tenfold; tenfold.verify(sys.argv[1]);"
        " print([name for name in ('onnxruntime', 'onnx', 'tvm', 'torch', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(alone)], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_model_that_is_named(alone, unverified, tmp_path):
    assert tenfold.verify(alone, unverified.parent / "net.onnx").verification["reference"] == "onnxruntime"
    onnx.save(tiny_network(seed=1), tmp_path / "other.onnx")
    with pytest.raises(TenfoldError, match="other.onnx: this is not the model that .*out was compiled from"):
        tenfold.verify(alone, tmp_path / "other.onnx")


def test_a_model_that_is_another_one_by_now(artifact, tmp_path):
    onnx.save(tiny_network(seed=1), tmp_path / "other.onnx")
    source = json.loads((artifact / "manifest.json").read_text())["source"]
    edit(artifact, source={**source, "path": str(tmp_path / "other.onnx")})
    assert tenfold.verify(artifact).verification["reference"] == "onnxruntime, kept in reference.npz"


def test_it_is_read_again_as_it_was(tmp_path, old_cpu):
    onnx.save(tiny_network(batch="n"), tmp_path / "net.onnx")
    options = {"batch": 3, "outputs": ("f",), "tolerance": 1e-3}
    tenfold.compile(tmp_path / "net.onnx", TARGET, tmp_path / "out", threads=1, **options)
    old_cpu.undo()
    check = tenfold.verify(tmp_path / "out").verification
    assert (check["reference"], check["tolerance"], check["tolerance_reason"]) == ("onnxruntime", 1e-3, "as asked")
    images = np.random.default_rng(0).random((6, 3, 8, 8), "float32")
    assert tenfold.verify(tmp_path / "out", data=images).verification["inputs"] == 2 + 2


@pytest.mark.parametrize("with_model", [True, False])
def test_what_is_wrong_is_found(artifact, alone, with_model, unverified):
    spoil(alone)
    before = (alone / "manifest.json").read_bytes()
    model = unverified.parent / "net.onnx" if with_model else None
    with pytest.raises(VerificationError, match="output 'scores' of the compiled network differs from onnxruntime"):
        tenfold.verify(alone, model)
    assert (alone / "manifest.json").read_bytes() == before
    outcome = command("verify", alone)
    assert outcome.code == 1 and outcome.complaint is None and "--model" in outcome.err


def test_whole_numbers_are_compared_too(tmp_path, old_cpu):
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 9]), helper.make_tensor_value_info("y", TensorProto.INT64, [4])]
    graph = helper.make_graph([helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)], "largest", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    tenfold.compile(model, TARGET, tmp_path / "out", threads=1)
    old_cpu.undo()
    assert tenfold.verify(tmp_path / "out").verification["max_abs_error"] == 0
    arrays = dict(np.load(tmp_path / "out" / "reference.npz"))
    arrays["1.output.0"][2] += 1
    np.savez(tmp_path / "out" / "reference.npz", **arrays)
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text())["reference"]
    edit(tmp_path / "out", reference={**facts, "sha256": verification_hash(tmp_path / "out")})
    with pytest.raises(VerificationError, match=r"differs from onnxruntime, kept in reference.npz in 2.5e-01 of its elements: at \[2\]"):
        tenfold.verify(tmp_path / "out")


def verification_hash(folder):
    return kept_reference.sha256_of(folder / "reference.npz")


def test_a_factored_network_is_compared_with_what_was_kept(tmp_path, tiny_file, old_cpu):
    done = tenfold.compress(tiny_file, tmp_path / "small", tenfold.Recipe(method="channel_svd", energy=0.5))
    tenfold.compile(tiny_file, TARGET, tmp_path / "out", plan=done.plan, threads=1)
    old_cpu.undo()
    assert tenfold.verify(tmp_path / "out").verification["reference"] == "onnxruntime, plan applied, kept in reference.npz"
    assert tenfold.verify(tmp_path / "out", tiny_file).verification["reference"] == "onnxruntime, plan applied"


def test_what_is_too_large_is_not_kept(tmp_path, old_cpu, unverified, monkeypatch):
    monkeypatch.setattr(kept_reference, "MOST_BYTES", 700)
    net = tenfold.compile(unverified.parent / "net.onnx", TARGET, tmp_path / "out", threads=1)
    assert net.manifest.reference is None and names(tmp_path / "out") == ["manifest.json", "model.so", "weights.bin"]
    old_cpu.undo()
    assert tenfold.verify(tmp_path / "out").verification["reference"] == "onnxruntime"
    edit(tmp_path / "out", source={**net.manifest.source, "path": None})
    with pytest.raises(TenfoldError, match="nothing to compare it with: it was compiled from no file, and there is no reference.npz"):
        tenfold.verify(tmp_path / "out")


def test_one_set_is_kept_where_two_are_too_large(tmp_path, old_cpu, monkeypatch):
    monkeypatch.setattr(kept_reference, "MOST_BYTES", 4 * (3 * 64 + 5) + 1)
    net = tenfold.compile(tiny_network(), TARGET, tmp_path / "out", threads=1)
    old_cpu.undo()
    assert net.manifest.reference["inputs"] == tenfold.verify(tmp_path / "out").verification["inputs"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verification": {}}, "field 'verification'"),
        ({"verification": "yes"}, "field 'verification'"),
        ({"reference": {"sha256": "00"}}, "field 'reference'"),
        ({"source": {"path": 3}}, "field 'source'"),
        ({"library_sha256": "00"}, "model.so: does not match"),
        ({"plan": {}}, "plan: not a plan"),
        ({"model_sha256": "00", "reference": None}, "is another model by now"),
        ({"outputs": [{"name": "scores", "shape": [1, 6], "dtype": "float32"}]}, "has other inputs or outputs|output 0 is"),
    ],
)
def test_a_manifest_edited_by_hand(artifact, change, words):
    if "plan" in change:
        change = {**change, "reference": None}
    edit(artifact, **change)
    before = (artifact / "manifest.json").read_bytes()
    with pytest.raises(TenfoldError, match=words) as caught:
        tenfold.verify(artifact)
    assert "\n" not in str(caught.value) and (artifact / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [({"sha256": "00"}, "reference.npz: does not match"), ({"inputs": 3}, "does not fit the network: array 2.input.0")],
)
def test_what_was_kept_is_held_against_the_manifest(alone, change, words):
    facts = json.loads((alone / "manifest.json").read_text())["reference"]
    edit(alone, reference={**facts, **change})
    with pytest.raises(TenfoldError, match=words):
        tenfold.verify(alone)
    (alone / "reference.npz").unlink()
    with pytest.raises(TenfoldError, match="no such file, though the manifest names it"):
        tenfold.verify(alone)


@pytest.mark.parametrize("where", ["tenfold.runner.verification.judge", "os.replace"])
def test_an_interrupt_leaves_the_manifest_as_it_was(artifact, monkeypatch, where):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    before, files = (artifact / "manifest.json").read_bytes(), names(artifact)
    with monkeypatch.context() as patch:
        patch.setattr(where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            tenfold.verify(artifact)
    assert (artifact / "manifest.json").read_bytes() == before and names(artifact) == files


def test_an_artifact_that_is_replaced_meanwhile(artifact, monkeypatch):
    real = verification.judge

    def judge(*args):
        edit(artifact, params=1)
        return real(*args)

    monkeypatch.setattr(verification, "judge", judge)
    with pytest.raises(TenfoldError, match="manifest.json: it was changed while this ran: nothing was written"):
        tenfold.verify(artifact)
    assert Manifest.read(artifact / "manifest.json").verification is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_manifest_that_can_not_be_written(artifact):
    (artifact / "manifest.json").chmod(0o400)
    with pytest.raises(TenfoldError, match="Permission denied"):
        tenfold.verify(artifact)


def test_an_artifact_that_was_never_verified_can_be_replaced(artifact, unverified):
    tenfold.compile(unverified.parent / "net.onnx", TARGET, artifact, threads=1)
    assert names(artifact) == ["manifest.json", "model.so", "weights.bin"]


def test_on_the_command_line(old_cpu, unverified, tmp_path, image):
    out = tmp_path / "out"
    made = command("compile", unverified.parent / "net.onnx", "-o", out, "--target", TARGET, "--threads", 1, "--json", tmp_path / "j")
    assert made.code == 0 and not made.err.replace("tenfold: [", "")
    assert f"not verified here: {TARGET} needs avx2, which this machine lacks; run `tenfold verify {out} --device HOST:PORT`" in made.out
    assert "or copy it there and run `tenfold verify out`" in made.out and "verified  against" not in made.out
    assert json.loads((tmp_path / "j").read_text())["manifest"]["verification"] is None
    refused = command("verify", out)
    assert refused.code == 2 and refused.complaint is None and "can't run here" in refused.err
    server = Server()
    try:
        np.save(tmp_path / "x.npy", image)
        ran = command("run", out, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npz", "--device", server.address)
        assert ran.code == 0 and f"{out}: it was never verified: tenfold verify {out}" in ran.err, ran.err
        timed = command("bench", out, "--runs", 3, "--device", server.address)
        assert timed.code == 0 and f"{out}: it was never verified" in timed.err, timed.err
        done = command("verify", out, "--device", server.address, "--json", tmp_path / "v")
        assert done.code == 0 and f"inputs on {server.address}, {detection.cpu_model()}: largest error" in done.out, done.err
        assert json.loads((tmp_path / "v").read_text())["verification"]["device"].startswith(server.address)
        again = command("run", out, "--input", tmp_path / "x.npy", "--device", server.address)
        assert again.code == 0 and "never verified" not in again.err
        spoil(out)
        wrong = command("verify", out, "--device", server.address)
        assert wrong.code == 1 and wrong.complaint is None and "differs from onnxruntime by" in wrong.err
    finally:
        server.stop()
    old_cpu.undo()
    expected = onnxruntime.InferenceSession(unverified.parent / "net.onnx").run(None, {"image": image})[0]
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_allclose(found["scores"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
