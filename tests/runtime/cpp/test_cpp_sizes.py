"""Artifacts of several sizes in C++."""
from __future__ import annotations

import hashlib
import json
import subprocess

import numpy as np
import onnx
import pytest
import tenfold
from conftest import tiny_network
from cpp_program import ask, needs_compiler
from tenfold.support.errors import TenfoldError

pytestmark = needs_compiler


@pytest.mark.slow
def test_several_sizes(checks, deploy, tmp_path):
    """The same numbers as in Python for each, and one line for what is wrong."""
    onnx.save(tiny_network(batch="N"), tmp_path / "net.onnx")
    folder = tmp_path / "net"
    tenfold.compile(tmp_path / "net.onnx", output=folder, batch=(4, 1))
    net, rng = tenfold.load(folder), np.random.default_rng(0)
    for batch in (1, 4):
        x = rng.standard_normal((batch, 3, 8, 8)).astype("f")
        (tmp_path / "inputs").write_bytes(x.tobytes())
        assert ask(checks, ["sizes", folder, batch, tmp_path / "inputs", tmp_path / "outputs"]) == ["ok 4 1"]
        assert (tmp_path / "outputs").read_bytes() == net(x).tobytes()
        done = subprocess.run([deploy, folder, tmp_path / "inputs", "--batch", str(batch)], capture_output=True, text=True)
        assert done.returncode == 0 and f"scores  float32({batch}, 5)" in done.stdout, done.stderr

    def complaint(batch=4):
        (answer,) = ask(checks, ["sizes", folder, batch, tmp_path / "inputs", tmp_path / "outputs"])
        assert answer.startswith("error ")
        return answer

    assert "it was not compiled for a batch of 3" in complaint(3)
    words = json.loads((folder / "sizes.json").read_text())
    (folder / "sizes.json").write_text(json.dumps({**words, "sizes": words["sizes"][::-1]}))
    assert "manifest.json: it is not the one that sizes.json names" in complaint()
    for wrong in ({"format": 2}, {"sizes": words["sizes"][:1]}, {"sizes": 7}, {"sizes": [{}, {}]}):
        (folder / "sizes.json").write_text(json.dumps({**words, **wrong}))
        assert "sizes.json: not the sizes of an artifact" in complaint()
    (folder / "sizes.json").write_text(json.dumps(words))
    for name in ("model.2.so", "weights.bin"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert f"{name}: does not match its manifest" in complaint()
        (folder / name).write_bytes(content)
    (folder / "weights.2.bin").unlink()
    assert "there is no weights.2.bin in it" in complaint()


def test_a_table_of_another_size_is_checked_against_the_weights(checks, tmp_path):
    """Its offsets point into weights.bin, and not beyond it, whatever it says."""
    onnx.save(tiny_network(batch="N"), tmp_path / "net.onnx")
    folder = tmp_path / "net"
    tenfold.compile(tmp_path / "net.onnx", output=folder, batch=(1, 4))
    table = np.frombuffer((folder / "weights.2.bin").read_bytes(), "<i8").copy()
    # magic, bytes, tensors, steps, pieces; then the output: five words and two sizes; then the first weight: its fourth word is the offset.
    at = 5 + 7 + 3
    assert table[at - 3] == 0
    table[at] = (folder / "weights.bin").stat().st_size // 64 * 64
    (folder / "weights.2.bin").write_bytes(table.tobytes())
    manifest = json.loads((folder / "manifest.2.json").read_text())
    manifest["weights_sha256"] = hashlib.sha256(table.tobytes()).hexdigest()
    (folder / "manifest.2.json").write_text(json.dumps(manifest))
    sizes = json.loads((folder / "sizes.json").read_text())
    sizes["sizes"][1]["weights_sha256"] = manifest["weights_sha256"]
    (folder / "sizes.json").write_text(json.dumps(sizes))
    (answer,) = ask(checks, ["sizes", folder, 4, tmp_path / "inputs", tmp_path / "outputs"])
    assert "weights.2.bin: not the weights of a compiled network: a weight lies outside it" in answer
    with pytest.raises(TenfoldError, match="weights.2.bin: not the weights of a compiled network: a weight lies outside it"):
        tenfold.load(folder)
