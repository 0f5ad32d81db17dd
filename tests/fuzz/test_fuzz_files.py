"""Seeded mutations of the files that a user gives beside models: every one is accepted, or refused in one line."""
from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
from artifact_edits import edit, read_words, write_words
from command_checks import tenfold, tenfold_anew
from file_mutations import NUMBERS, mutate_bytes, mutate_text

QUICK, SLOW, ALL = 10, 20, 60  # cases of each kind of file: those that are always run, with the slow tests, and with the long ones


def numbered(quick=QUICK, slow=SLOW, every=ALL):
    """Seeds: the first few are run always, some more with the slow tests, the others with the long ones."""
    marks = pytest.mark.slow, pytest.mark.long
    return [pytest.param(seed, marks=marks[:(seed >= quick) + (seed >= slow)]) for seed in range(every)]


@pytest.fixture(scope="module")
def seeds(tiny_artifact, tiny_file, tmp_path_factory):
    """A folder with one of each kind of file, all of them good."""
    from tenfold.frontends import load

    folder = tmp_path_factory.mktemp("seeds")
    shutil.copytree(tiny_artifact, folder / "net")
    shutil.copy(tiny_file, folder / "net.onnx")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3, 8, 8)).astype("float32")
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", image=x)
    images = rng.standard_normal((40, 3, 8, 8)).astype("float32")
    np.savez_compressed(folder / "d.npz", x=images, y=np.arange(40) % 5, held_out=np.arange(40) < 20)
    layers = {"conv": {"method": "channel_svd", "ranks": [2], "metric": "frobenius"}, "fc": {"method": "svd", "ranks": [2]}}
    plan = {"version": 1, "model": load(tiny_file).sha256, "target": "zen3", "layers": layers, "refused": {"other": "too small"}}
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


@pytest.fixture
def work(seeds, tmp_path):
    return shutil.copytree(seeds, tmp_path / "work")


def check(*arguments):
    outcome = tenfold(*arguments)
    assert outcome.complaint is None, f"{arguments}: {outcome.complaint}"
    return outcome


@pytest.mark.parametrize("seed", numbered())
def test_manifests(work, seed):
    rng = random.Random(seed)
    (work / "net" / "manifest.json").write_bytes(mutate_text((work / "net" / "manifest.json").read_text(), rng))
    check("run", work / "net", "--input", work / "x.npz")


@pytest.mark.parametrize("seed", numbered())
def test_tables_of_weights(work, seed):
    """Their hash is right."""
    rng, words = random.Random(seed), read_words(work / "net")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(1, len(words))
        near = words[at] + rng.choice((-64, -1, 1, 64))
        words[at] = rng.choice((near, near, *(n for n in NUMBERS if isinstance(n, int) and -(1 << 63) <= n < 1 << 63), rng.choice(words)))
    write_words(work / "net", words)
    if rng.random() < 0.2:
        edit(work / "net", pieces=words[4] if 0 < words[4] < 1 << 60 else 1)
    check("run", work / "net", "--input", work / "x.npz")


@pytest.mark.parametrize("seed", numbered())
def test_plans(work, seed):
    rng = random.Random(seed)
    (work / "plan.json").write_bytes(mutate_text((work / "plan.json").read_text(), rng))
    check("compress", work / "net.onnx", "--plan", work / "plan.json", "-o", work / "out", "--target", "zen3")
    names = [path.name for path in (work / "out").iterdir()] if (work / "out").exists() else []
    assert sorted(names) in ([], ["model.onnx", "plan.json", "report.json"])


@pytest.mark.parametrize("seed", numbered())
def test_arrays(work, seed):
    rng = random.Random(seed)
    name = rng.choice(("x.npy", "x.npz"))
    content = (work / name).read_bytes()
    head = content[:140]  # where everything is that is not numbers
    (work / name).write_bytes(mutate_bytes(head, rng) + content[140:] if rng.random() < 0.6 else mutate_bytes(content, rng))
    check("run", work / "net", "--input", work / name, "-o", work / "y.npz")


IMAGES = (40, 3, 8, 8)
ARRAYS = {
    "x": (np.float32(1), np.zeros(0), np.array(["a"]), np.zeros((3, 3, 8, 8)), np.full(IMAGES, np.nan, "f4"), np.zeros(IMAGES, "f4"),
          np.zeros((0, 3, 8, 8), "f4"), np.zeros(IMAGES, ">f4"), np.zeros(IMAGES, "M8[s]"), np.zeros(IMAGES, "c8")),
    "y": (np.int64(1), np.arange(40), np.arange(40) - 20, np.full(40, 1 << 62), np.full(40, 0.5), np.full(40, np.nan),
          np.zeros((40, 1), int), np.zeros(39, int), np.zeros(40, "S3"), np.zeros(40, "u8"), np.zeros(40, bool)),
    "held_out": (True, np.zeros(40, bool), np.ones(40, bool), np.zeros(40), np.zeros((40, 1), bool), np.zeros(39, bool)),
}  # fmt: skip
SPOILT = [(name, index) for name, arrays in ARRAYS.items() for index in range(len(arrays))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "index"), SPOILT)
def test_calibration_data(work, name, index):
    """Labels are used with torch, whose threads a fork of this process may wait for without end: they get a process of their own."""
    arrays = {**np.load(work / "d.npz"), name: ARRAYS[name][index]}
    if name != "y":
        del arrays["y"]
    np.savez(work / "d.npz", **arrays)
    options = ["--data", work / "d.npz", "-o", work / "out", "--method", "svd", "--energy", "0.5", "--target", "zen3"]
    arguments = [str(argument) for argument in ("compress", work / "net.onnx", *options)]
    if name != "y":
        check(*arguments)
        return
    outcome = tenfold_anew(*arguments, seconds=300)
    assert outcome.complaint is None, outcome.complaint


@pytest.mark.parametrize("header", [
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3, 8, 8), }",
    "{'descr': '<f4', 'fortran_order': 3, 'shape': (1,), }",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 500 + ")" * 500 + ", }",
    "__import__('os').system('touch executed')",
    "{" * 5000,
    "'" * 5001,
    " " * 60000,
])  # fmt: skip
def test_headers_of_arrays(work, header):
    size = len(header).to_bytes(2, "little")
    (work / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + size + header.encode() + bytes(1000))
    assert check("run", work / "net", "--input", work / "x.npy").code == 2
    assert not list(work.rglob("executed"))


TARGETS = (
    '{"kind": "llvm"', "{}", "{1}", '{"kind":' * 50000, '{"kind": "llvm", "kind": "llvm"}', '{"kind": 3}', '{"kind": ["llvm"]}',
    '{"kind": "llvm", "num-cores": ' + "9" * 5000 + "}", '{"kind": "llvm", "num-cores": -1}', '{"kind": "llvm", "num-cores": 1e999}',
    '{"kind": "llvm", "num-cores": true}', '{"kind": "llvm", "mcpu": null}', '{"kind": "llvm", "mcpu": ["znver4"]}',
    '{"kind": "llvm", "mcpu": "\\ud800"}', '{"kind": "llvm", "mattr": 3}', '{"kind": "llvm", "mattr": [""]}',
    '{"kind": "llvm", "mattr": [3]}', '{"kind": "llvm", "mtriple": []}', '{"kind": "llvm", "mcpu": "znver4", "x": 1}',
)  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=lambda text: text[:40])
def test_targets(target):
    assert check("targets", target).code == 2


@pytest.mark.parametrize("seed", numbered(3, 10, 30))
def test_reports_of_earlier_results(work, seed):
    """A damaged report is no result of ours: nothing is replaced, or everything."""
    rng = random.Random(seed)
    arguments = ("compress", work / "net.onnx", "--energy", "0.5", "-o", work / "out", "--target", "zen3")
    assert check(*arguments).code == 0
    name = rng.choice(("report.json", "plan.json"))
    mutated = mutate_text((work / "out" / name).read_text(), rng)
    (work / "out" / name).write_bytes(mutated)
    before = {path.name: path.read_bytes() for path in (work / "out").iterdir()}
    outcome = check(*arguments)
    after = {path.name: path.read_bytes() for path in (work / "out").iterdir()}
    assert (outcome.code == 0) != (after == before) or mutated == after[name]
