"""The command and what it writes: nothing of the user's is lost, whatever the names, the disk, the compiler, or a kill."""
from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
import traceback

import numpy as np
import onnx
import pytest
from command_checks import started, tenfold, tenfold_anew
from conftest import tiny_network

FACTOR = "--energy", "0.5", "--target", "zen3"


@pytest.fixture
def work(tiny_file, tiny_artifact, tmp_path, monkeypatch):
    """A folder with a network, an artifact and inputs, in which commands run."""
    shutil.copy(tiny_file, tmp_path / "net.onnx")
    shutil.copytree(tiny_artifact, tmp_path / "art")
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")
    np.savez(tmp_path / "x.npz", image=x)
    np.savez(tmp_path / "d.npz", x=np.repeat(x, 40, 0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state(folder):
    """Everything in a folder."""
    return {path: os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def refused(work, *arguments):
    """The command ends with one line and exit code 2, and everything is as it was."""
    before = state(work)
    outcome = tenfold(*arguments)
    assert outcome.code == 2 and outcome.complaint is None, (arguments, outcome)
    assert state(work) == before, arguments
    return outcome.err


def in_folder(work):
    (work / "net").mkdir()
    shutil.move(work / "net.onnx", work / "net" / "model.onnx")


def external(work):
    """A model whose weights are in a file of the folder."""
    os.remove("fac/model.onnx")
    onnx.save(tiny_network(), work / "out.onnx", save_as_external_data=True, location="fac/model.onnx", size_threshold=0)


def linked(work):
    in_folder(work)
    (work / "m.onnx").symlink_to("net/model.onnx")


def hard_linked(work):
    in_folder(work)
    os.link("net/model.onnx", "m.onnx")


INPUTS = {
    "the model": (in_folder, ["compress", "net/model.onnx", "-o", "net", *FACTOR]),
    "the model over a link": (linked, ["compress", "m.onnx", "-o", "net", *FACTOR]),
    "the model by another name": (hard_linked, ["compress", "m.onnx", "-o", "net", *FACTOR]),
    "into a link to it": (lambda w: [in_folder(w), (w / "out").symlink_to("net")], ["compress", "net/model.onnx", "-o", "out", *FACTOR]),
    "a result of ours": (lambda w: None, ["compress", "fac/model.onnx", "-o", "fac", *FACTOR]),
    "the plan": (lambda w: None, ["compress", "net.onnx", "--plan", "fac/plan.json", "-o", "fac"]),
    "the plan compiled": (lambda w: None, ["compile", "net.onnx", "--plan", "fac/plan.json", "-o", "fac"]),
    "the data": (lambda w: shutil.move("d.npz", "fac/plan.json"), ["compress", "net.onnx", "--data", "fac/plan.json", "-o", "fac"]),
    "run": (lambda w: None, ["run", "art", "--input", "x.npz", "-o", "x.npz"]),
    "run over a link": (lambda w: (w / "y.npz").symlink_to("x.npz"), ["run", "art", "--input", "x.npz", "-o", "y.npz"]),
    "run over the artifact": (lambda w: (w / "y.npz").symlink_to("art/weights.bin"), ["run", "art", "--input", "x.npz", "-o", "y.npz"]),
    "inspect": (lambda w: None, ["inspect", "net.onnx", "--json", "net.onnx"]),
    "bench": (lambda w: None, ["bench", "net.onnx", "--json", "net.onnx"]),
    "bench of an artifact": (lambda w: None, ["bench", "art", "--json", "art/manifest.json"]),
    "bench with data": (lambda w: None, ["bench", "art", "--data", "d.npz", "--json", "d.npz"]),
    "report": (lambda w: shutil.copy("fac/report.json", "b.html"), ["report", "fac", "b.html", "-o", "b.html"]),
    "external weights": (external, ["inspect", "out.onnx", "--json", "fac/model.onnx"]),
    "plot": (lambda w: (w / "p.png").symlink_to("net.onnx"), ["plot", "spectra", "net.onnx", "-o", "p.png"]),
}


@pytest.mark.quick(6)
@pytest.mark.parametrize("name", INPUTS)
def test_an_input_is_never_overwritten(work, name):
    prepare, arguments = INPUTS[name]
    assert tenfold("compress", "net.onnx", "-o", "fac", *FACTOR).code == 0
    prepare(work)
    assert "an input" in refused(work, *arguments)


def other_report(out):
    (out / "report.json").write_text('{"model": "net", "layers": []}')
    shutil.copy("net.onnx", out / "model.onnx")


def other_weights(out):
    shutil.copytree("art", out, dirs_exist_ok=True)
    (out / "weights.bin").write_bytes(b"others")


FOREIGN = {
    "a manifest of others": lambda out: (out / "manifest.json").write_text('{"name": "app", "icons": []}'),
    "a manifest that is no JSON": lambda out: (out / "manifest.json").write_text("Main-Class: App"),
    "a model without a report": lambda out: shutil.copy("net.onnx", out / "model.onnx"),
    "a report of others": other_report,
    "weights of others": other_weights,
}


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("command", [["compile", "net.onnx"], ["compress", "net.onnx", *FACTOR]])
def test_a_folder_of_others_is_not_replaced(work, name, command):
    (work / "out").mkdir()
    FOREIGN[name](work / "out")
    assert "out: " in refused(work, *command, "-o", "out")


def test_an_edited_plan_is_not_replaced(work):
    assert tenfold("compress", "net.onnx", "-o", "fac", *FACTOR).code == 0
    assert tenfold("compress", "net.onnx", "-o", "fac", *FACTOR).code == 0
    (work / "fac" / "plan.json").write_text((work / "fac" / "plan.json").read_text().replace("ranks", "ranks ") + "\n")
    assert "plan.json was changed since" in refused(work, "compress", "net.onnx", "-o", "fac", *FACTOR)


LONG = "n" * 300
NAMES = [
    ["compile", "net.onnx", "-o", LONG],
    ["compress", "net.onnx", "-o", LONG, *FACTOR],
    ["inspect", "net.onnx", "--json", LONG],
    ["run", "art", "--input", "x.npz", "-o", f"{LONG}.npz"],
    ["plot", "parameters", "-o", f"{LONG}.png"],
    ["inspect", "net.onnx", "--json", "."],
    ["bench", "art", "--json", "."],
    ["compile", "net.onnx", "-o", "net.onnx"],
    ["compile", "net.onnx", "-o", "net.onnx/out"],
    ["inspect", "net.onnx", "--json", "net.onnx/a.json"],
    ["plot", "parameters", "-o", "none/p.png"],
    ["compile", "net.onnx", "-o", "dangling"],
    ["compile", "net.onnx", "--plan", "/dev/zero", "-o", "out"],
    ["compile", "net.onnx", "--plan", "pipe", "-o", "out"],
    ["compile", "net.onnx", "--plan", LONG, "-o", "out"],
    ["run", "art", "--input", "pipe"],
    ["run", "art", "--input", "/dev/zero"],
    ["run", LONG, "--input", "x.npz"],
    ["run", "art", "--input", LONG],
    ["bench", "art", "--data", "pipe"],
    ["run", "pipes", "--input", "x.npz"],
]


@pytest.mark.quick(7)
@pytest.mark.parametrize("arguments", NAMES, ids=lambda arguments: " ".join(arguments).replace(LONG, "long"))
def test_names_that_are_no_files(work, arguments):
    (work / "dangling").symlink_to("nowhere")
    os.mkfifo("pipe")
    (work / "pipes").mkdir()
    os.mkfifo("pipes/manifest.json")
    refused(work, *arguments)


def test_without_a_current_folder(work, monkeypatch):
    (work / "gone").mkdir()
    monkeypatch.chdir(work / "gone")
    (work / "gone").rmdir()
    for arguments in (["compile", work / "net.onnx", "-o", "out"], ["inspect", work / "net.onnx", "--json", "a.json"]):
        assert "current folder" in refused(work, *arguments)
    assert tenfold("compress", work / "net.onnx", "-o", work / "fac", *FACTOR).code == 0


def test_without_a_compiler(work, monkeypatch):
    monkeypatch.setenv("PATH", str(work))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    assert "apt install g++" in refused(work, "compile", "net.onnx", "-o", "out")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "'no-such-compiler'" in refused(work, "compile", "net.onnx", "-o", "out")


@pytest.mark.parametrize("words", ["cannot execute 'cc1plus'", "ld: final link failed: No space left on device", ""])
def test_with_a_compiler_that_fails(work, monkeypatch, words):
    (work / "c++").write_text(f"#!/bin/sh\necho 'c++: fatal error: '\"{words}\" >&2\necho compilation terminated. >&2\nexit 1\n")
    (work / "c++").chmod(0o755)
    monkeypatch.setenv("CXX", str(work / "c++"))
    said = refused(work, "compile", "net.onnx", "-o", "out")
    assert words in said and ("apt install g++" in said) == ("cc1plus" in words)


@pytest.fixture(scope="module")
def can_mount():
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0 if shutil.which("unshare") else False


CLONE_NEWNS = 0x20000  # of unshare(2): mounts of one's own
COMMANDS = [
    ["compile", "net.onnx", "-o", "disk/out"],
    ["compress", "net.onnx", "-o", "disk/fac", *FACTOR],
    ["plot", "parameters", "-o", "disk/p.png"],
]
DISKS = {"full": "-o size=8k", "read-only": "-o ro"}


@pytest.mark.slow
@pytest.mark.parametrize("disk", DISKS)
def test_on_a_disk_that_takes_nothing(work, can_mount, disk):
    if not can_mount:
        pytest.skip("needs the right to mount a file system")
    (work / "disk").mkdir()
    child = os.fork()  # the disk is its own: it is gone when it ends
    if child == 0:
        try:
            assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            for command in COMMANDS:
                subprocess.run(["mount", "-t", "tmpfs", *DISKS[disk].split(), "none", "disk"], check=True)
                refused(work, "-q", *command)
                assert os.listdir("disk") == []
                subprocess.run(["umount", "disk"], check=True)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("before", [False, True])
def test_kill_9_leaves_a_whole_result_or_none(work, monkeypatch, before):
    """Killed at several moments of its work; then a run that is left alone removes what is left, beside the output and elsewhere."""
    (work / "tmp").mkdir()
    (work / "outputs").mkdir()
    monkeypatch.setenv("TMPDIR", str(work / "tmp"))
    command = "compile", "net.onnx", "-o", "outputs/out"
    assert tenfold_anew(*command).code == 0
    begin = time.monotonic()
    assert tenfold_anew(*command).code == 0
    whole = time.monotonic() - begin
    if not before:
        shutil.rmtree("outputs/out")
    for part in (0.2, 0.5, 0.75, 0.9, 1.0):
        running = started(*command)
        time.sleep(part * whole)
        running.kill()
        running.join()
        if before or os.path.exists("outputs/out/manifest.json"):
            assert tenfold("run", "outputs/out", "--input", "x.npz").code == 0
        else:
            assert not os.path.exists("outputs/out")
    assert tenfold_anew(*command).code == 0
    assert os.listdir("outputs") == ["out"] and sorted(os.listdir("outputs/out")) == ["manifest.json", "model.so", "weights.bin"]
    assert [name for name in os.listdir("tmp") if name.startswith("tenfold-")] == []
