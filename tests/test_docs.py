"""What the documents show in Python is what works."""
from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tenfold
from command_checks import tenfold as run_command
from search_fakes import ModelDevice

ROOT = Path(tenfold.__file__).parent


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder that has the examples of the repository."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "models").symlink_to(ROOT / "examples" / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_page_on_the_api_runs(work, monkeypatch):
    """With times from a model: what is measured on a busy machine may leave nothing to gain."""
    monkeypatch.setattr("tenfold.runner.bench.timed_module.TimedModules", lambda target, device: ModelDevice())
    text = (ROOT / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    assert {path.name for path in (work / "out").iterdir()} == {"dense", "small", "smaller", "searched", "cache"}
    assert names["done"].search.verdict.drop <= 5 and names["done"].after.ms > 0
    assert str(names.get("error", "")) == ""  # it was caught, and its name is gone


@pytest.mark.slow
def test_the_page_on_other_networks_than_classifiers_runs(work, monkeypatch):
    """With times from a model. The first block is a file of its own."""
    monkeypatch.setattr("tenfold.runner.bench.timed_module.TimedModules", lambda target, device: ModelDevice())
    text = (ROOT / "docs" / "outputs.md").read_text()
    file, *blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert file.startswith("# miou.py\n") and len(blocks) == 3
    (work / "out").mkdir()
    (work / "out" / "miou.py").write_text(file)
    names: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, "docs/outputs.md", "exec"), names)
        if number == 1:
            assert names["done"].search.measure.units == "nats" and names["done"].search.verdict.drop <= 0.1
    done = names["done"]
    assert done.search.measure.name == "miou" and 0 < done.before.accuracy - done.after.accuracy <= 0.3 and done.after.ms < done.before.ms


@pytest.mark.slow
def test_the_page_on_quantizing_runs(work):
    """Its Python, and its commands but the search, on fewer images and the smaller of the two networks."""
    with np.load("examples/models/cifar10_test_500.npz") as data:
        np.savez("few.npz", x=data["x"][:64], y=data["y"][:64])
    text = (ROOT / "docs" / "quantization.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (work / "out").mkdir()
    names: dict = {}
    exec(compile(block.replace("examples/models/cifar10_test_500.npz", "few.npz"), "docs/quantization.md", "exec"), names)
    assert (work / "out" / "int8.onnx").exists() and names["done"].settings.calibration == "minmax"
    commands = re.findall(r"^    tenfold (.*)$", text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["quantize", "compile", "compress", "compile"]
    for command in commands:
        if command.startswith("compress"):
            continue
        quick = command.replace("cifar10_vgg", "cifar10_jin_baseline").replace("examples/models/cifar10_test_500.npz", "few.npz")
        done = run_command(*quick.split(), seconds=300)
        assert done.code == 0, done.err
    assert (work / "out.onnx").exists() and all((work / name / "manifest.json").exists() for name in ("out-int8", "out-small"))


def test_the_page_on_the_api_names_all_that_is_public():
    text = (ROOT / "docs" / "api.md").read_text()
    missing = [name for name in tenfold.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing


@pytest.mark.slow
def test_the_page_on_training_runs(work, monkeypatch):
    """On a few images, for a few steps."""
    from tenfold.training import data
    from tenfold.training.pruning import cycles

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 140, 3, 32, 32), np.uint8), rng.integers(0, 10, (2, 140))
    monkeypatch.setattr(data, "read_images", lambda folder: data.Images("cifar10", x[0], y[0], x[1][:9], y[1][:9], 10))
    monkeypatch.setattr(cycles, "BATCH", 70)
    text = (ROOT / "docs" / "training.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names: dict = {}
    for block in blocks:
        quick = block.replace("steps=10_000", 'steps=1, precision="float32"').replace("outliers(), ", "outliers(), most=1, ")
        exec(compile(quick, "docs/training.md", "exec"), names)
    assert len(blocks) == 3 and (work / "runs" / "mine" / "network.onnx").exists()
    assert [layer.name for layer in names["layers"]] == ["0", "3.convolution1"] and names["cycles"]


def test_the_python_of_the_page_on_usage_runs(work):
    text = (ROOT / "docs" / "usage.md").read_text()
    code = re.search(r"^## In Python\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    assert code is not None
    shutil.copy(ROOT / "examples" / "models" / "cifar10_jin_baseline.onnx", "model.onnx")
    names = {"x": np.zeros((1, 3, 32, 32), "float32")}
    exec(compile("\n".join(line[4:] for line in code[1].splitlines()), "docs/usage.md", "exec"), names)
    assert names["y"].shape == (1, 10)
