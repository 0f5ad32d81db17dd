"""Output folders appear whole or not at all, and replace nothing but an earlier result."""
from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import onnx
import pytest
from conftest import tiny_network
from onnx import numpy_helper
from tenfold.support.errors import TenfoldError
from tenfold.support.files.folder import Kind, check_output, output_folder
from tenfold.support.files.inputs import protect

NAMES = ("model.so", "manifest.json")


def fault(folder):
    """Ours begin with a word."""
    strange = [path.name for path in folder.iterdir() if path.name in NAMES and path.read_text().split()[:1] != ["ours"]]
    return f"{strange[0]} is foreign" if strange else None


KIND = Kind("manifest.json", NAMES, fault)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(output, text="ours new"):
    with output_folder(output, KIND) as folder:
        for name in NAMES:
            (folder / name).write_text(text)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


WHOLE = {name: "ours new" for name in NAMES}


def test_a_folder_and_its_parents_are_made(tmp_path):
    fill(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == sorted(NAMES)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("before", [None, [], ["model.so"], ["model.so", "manifest.json"]])
def test_what_is_ours_is_replaced(tmp_path, before):
    if before is not None:
        (tmp_path / "out").mkdir()
        for name in before:
            (tmp_path / "out" / name).write_text("ours old")
    fill(tmp_path / "out")
    assert contents(tmp_path / "out") == WHOLE
    assert names(tmp_path) == ["out"]


def test_files_that_the_new_result_lacks_are_gone(tmp_path):
    fill(tmp_path / "out", "ours old")
    with output_folder(tmp_path / "out", KIND) as folder:
        (folder / "manifest.json").write_text("ours new")
    assert contents(tmp_path / "out") == {"manifest.json": "ours new"}


@pytest.mark.parametrize("make", ["file", "folder", "link", "key is a link", "key is a folder", "foreign key"])
def test_what_is_not_ours_is_left_alone(tmp_path, make):
    out = tmp_path / "out"
    fill(out, "ours old")
    {
        "file": lambda: (out / "thesis.tex").write_text("years of work"),
        "folder": lambda: (out / "thesis").mkdir(),
        "link": lambda: (out / "thesis").symlink_to("/nowhere"),
        "key is a link": lambda: [(out / "manifest.json").rename(tmp_path / "m"), (out / "manifest.json").symlink_to("../m")],
        "key is a folder": lambda: [(out / "manifest.json").unlink(), (out / "manifest.json").mkdir()],
        "foreign key": lambda: (out / "manifest.json").write_text('{"name": "my web application"}'),
    }[make]()
    before = sorted((path.name, path.is_symlink(), path.is_dir()) for path in out.iterdir())
    with pytest.raises(TenfoldError, match=r"out: .*(thesis|manifest)") as caught:
        fill(out)
    assert "\n" not in str(caught.value)
    assert sorted((path.name, path.is_symlink(), path.is_dir()) for path in out.iterdir()) == before
    assert "ours old" in (out / "model.so").read_text()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("text")
    for output in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(TenfoldError, match="a file"):
            fill(output)
    assert (tmp_path / "out").read_text() == "text"


@pytest.mark.parametrize("inside", ["absent", "empty", "ours"])
def test_a_link_stays_a_link(tmp_path, inside):
    (tmp_path / "real").mkdir()
    if inside == "ours":
        fill(tmp_path / "real", "ours old")
    (tmp_path / "link").symlink_to("real")
    output = tmp_path / "link" / "deeper" if inside == "absent" else tmp_path / "link"
    fill(output)
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real" / "deeper" if inside == "absent" else tmp_path / "real") == WHOLE


def test_a_link_to_nowhere_or_to_itself_is_refused(tmp_path):
    for name, target in (("dangling", "nowhere"), ("circle", "circle")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(TenfoldError, match=name):
            fill(tmp_path / name)
    assert names(tmp_path) == ["circle", "dangling"] and os.readlink(tmp_path / "dangling") == "nowhere"


def test_the_current_folder_can_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    for _ in range(2):
        fill(".")
        assert os.path.samefile(".", tmp_path / "out") and contents(tmp_path / "out") == WHOLE


def test_a_current_folder_that_is_gone_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(TenfoldError, match="out: can't be written"):
        fill("out")
    fill(tmp_path / "out")
    assert contents(tmp_path / "out") == WHOLE


@pytest.mark.parametrize("name", ["n" * 300, "nul\0", "a/" * 3000])
def test_a_name_that_is_none_is_an_error(tmp_path, name):
    for call in (fill, lambda output: check_output(output, KIND)):
        with pytest.raises(TenfoldError, match="can't be written"):
            call(f"{tmp_path}/{name}")
    assert names(tmp_path) == []


def test_a_long_name_can_be_written(tmp_path):
    fill(tmp_path / ("n" * 255))
    assert contents(tmp_path / ("n" * 255)) == WHOLE


# Inputs.


def hard_link(out, other):
    os.link(out / "model.so", other)
    return other


def link_in(out, other):
    """A link in the folder that leads out of it: the folder is no result of ours either, but the input is what is told."""
    shutil.move(out / "model.so", other)
    (out / "model.so").symlink_to(other)
    return out / "model.so"


INPUTS = {
    "itself": lambda out, other: out / "model.so",
    "relative": lambda out, other: os.path.relpath(out / "model.so"),
    "link": lambda out, other: [other.symlink_to(out / "model.so"), other][1],
    "link of a link": lambda out, other: [other.symlink_to("hop"), (other.parent / "hop").symlink_to(out / "model.so"), other][2],
    "folder link": lambda out, other: [other.symlink_to(out), other / "model.so"][1],
    "hard link": hard_link,
    "link out of it": link_in,
    "list": lambda out, other: [out / "model.so"],
}


@pytest.mark.parametrize("kind", INPUTS)
def test_an_input_is_not_replaced(tmp_path, kind):
    out = tmp_path / "out"
    fill(out, "ours old")
    given = INPUTS[kind](out, tmp_path / "other")
    with protect(given), pytest.raises(TenfoldError, match="an input, lies in this folder") as caught:
        fill(out)
    assert "\n" not in str(caught.value)
    assert (out / "model.so").read_text() == "ours old"


def test_an_input_that_gets_there_while_the_work_is_done_is_not_replaced(tmp_path):
    fill(tmp_path / "out", "ours old")
    (tmp_path / "x.npz").write_text("data")
    with protect(tmp_path / "x.npz"), pytest.raises(TenfoldError, match="an input"), output_folder(tmp_path / "out", KIND) as folder:
        (folder / "model.so").write_text("ours new")
        (tmp_path / "x.npz").unlink()
        os.link(tmp_path / "out" / "model.so", tmp_path / "x.npz")
    assert contents(tmp_path / "out") == {name: "ours old" for name in NAMES}


def test_external_weights_of_a_model_are_inputs(tmp_path):
    fill(tmp_path / "out", "ours old")
    model = tiny_network()
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "out/model.so")
    tensor.ClearField("raw_data")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with protect(tmp_path / "net.onnx"), pytest.raises(TenfoldError, match="an input"):
        fill(tmp_path / "out")
    constant = onnx.helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(3, "float32")))
    onnx.external_data_helper.set_external_data(constant.attribute[0].t, "model.so")
    branch = onnx.helper.make_graph([constant], "branch", [], [])
    model.graph.initializer.pop(0)
    model.graph.node.append(onnx.helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch))
    (tmp_path / "link").symlink_to(tmp_path / "out" / "deep.onnx")
    (tmp_path / "deep.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "net.onnx").symlink_to("../deep.onnx")
    shutil.copytree(tmp_path / "out", tmp_path / "model.so")
    with protect(tmp_path / "other" / "net.onnx"):
        fill(tmp_path / "out")  # none of its weights lies here


def test_what_is_replaced_was_looked_at_last(tmp_path):
    """A file of the user's that takes the place of ours while the work is done is not ours."""
    fill(tmp_path / "out", "ours old")
    with pytest.raises(TenfoldError, match="model.so is foreign"), output_folder(tmp_path / "out", KIND) as folder:
        (folder / "model.so").write_text("ours new")
        (tmp_path / "out" / "model.so").write_text("years of work")
    assert contents(tmp_path / "out") == {"model.so": "years of work", "manifest.json": "ours old"}
    (tmp_path / "new").mkdir()
    with pytest.raises(TenfoldError, match="thesis"), output_folder(tmp_path / "new", KIND) as folder:
        (tmp_path / "new" / "thesis.tex").write_text("years of work")
    assert names(tmp_path / "new") == ["thesis.tex"]


def test_a_folder_that_two_runs_make_is_of_the_later_one(tmp_path):
    with output_folder(tmp_path / "out", KIND) as folder:
        fill(tmp_path / "out", "ours first")
        for name in NAMES:
            (folder / name).write_text("ours new")
    assert contents(tmp_path / "out") == WHOLE and names(tmp_path) == ["out"]


# Interrupts, errors and kills.


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [False, True])
def test_an_interrupted_result_leaves_what_was_there(tmp_path, error, old):
    if old:
        fill(tmp_path / "out", "ours old")
    with pytest.raises(error), output_folder(tmp_path / "out", KIND) as folder:
        (folder / "model.so").write_text("half")
        raise error
    assert names(tmp_path) == (["out"] if old else [])
    if old:
        assert contents(tmp_path / "out") == {name: "ours old" for name in NAMES}


class Calls:
    """Counts the calls that change what is on disk, and makes the one of a number fail."""

    WATCHED = "mkdir", "open", "rename", "replace", "unlink", "rmdir", "write"

    def __init__(self, monkeypatch, at, act):
        self.count, self.at, self.act = 0, at, act
        for name in self.WATCHED:
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, function):
        def call(*args, **keywords):
            self.count += 1
            if self.count == self.at:
                self.act()
            return function(*args, **keywords)

        return call


STATES = {"absent": None, "empty": {}, "ours": {name: "ours old" for name in NAMES}}


def prepare(output, state):
    if state == "ours":
        fill(output, "ours old")
    elif state == "empty":
        output.mkdir()


@pytest.mark.parametrize("code", ["ENOSPC", "EACCES", "EROFS", "EIO"])
@pytest.mark.parametrize("state", STATES)
def test_whatever_call_fails_the_folder_is_old_or_new(tmp_path, state, code):
    number = getattr(__import__("errno"), code)

    def refuse():
        raise OSError(number, os.strerror(number))

    failed = 0
    for at in range(1, 200):
        output = tmp_path / str(at) / "out"
        output.parent.mkdir()
        prepare(output, state)
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = Calls(monkeypatch, at, refuse)
            try:
                fill(output)
                done = True
            except TenfoldError as error:
                assert os.strerror(number) in str(error) and "\n" not in str(error)
                done, failed = False, failed + 1
        there = contents_of_ours(output)
        assert there == (WHOLE if done else STATES[state]), at
        _old(output)
        fill(output)  # and a later run goes on as if nothing had been
        assert contents(output) == WHOLE
        if calls.count < at:
            break
    else:
        pytest.fail("the calls never end")
    assert failed > 3


def contents_of_ours(output):
    return {path.name: path.read_text() for path in output.iterdir() if path.name in NAMES} if output.is_dir() else None


@pytest.mark.quick(1)
@pytest.mark.parametrize("state", STATES)
def test_whenever_it_is_killed_the_result_is_old_or_new_or_none(tmp_path, state):
    """The process dies at every call in turn. A later run finds one whole result, or none, and removes what is left of the other."""
    for at in range(1, 200):
        output = tmp_path / str(at) / "out"
        output.parent.mkdir()
        prepare(output, state)
        if _fill_killed_at(output, at) == 0:
            break
        there = contents_of_ours(output)
        assert not there or "manifest.json" not in there or there in (WHOLE, STATES[state]), at
        check_output(output, KIND)  # which a later run begins with
        assert contents_of_ours(output) in (WHOLE, STATES[state]), at
        _old(output)
        fill(output)
        assert contents(output) == WHOLE and names(output.parent) == ["out"], at
    else:
        pytest.fail("the calls never end")
    assert at > 5


def _fill_killed_at(output, at):
    child = os.fork()
    if child == 0:
        Calls(pytest.MonkeyPatch(), at, lambda: os.kill(os.getpid(), signal.SIGKILL))
        try:
            fill(output)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code


def _old(output):
    """A folder without its mark, which a kill just after it was made leaves, is removed when it is an hour old."""
    for folder in (output, output.parent):
        for path in folder.glob(".tenfold-*") if folder.is_dir() else ():
            os.utime(path, (0, 0))
