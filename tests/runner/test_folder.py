"""Outputs appear whole or not at all."""
from __future__ import annotations

import os

import pytest
from tenfold.errors import TenfoldError
from tenfold.runner.folder import output_folder, whole_file, write_text

OURS = ("model.so", "manifest.json")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(output, text="new"):
    with output_folder(output, OURS) as folder:
        for name in OURS:
            (folder / name).write_text(text)


def test_a_folder_and_its_parents_are_made(tmp_path):
    fill(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == sorted(OURS)
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
            (tmp_path / "out" / name).write_text("old")
    fill(tmp_path / "out")
    assert {(tmp_path / "out" / name).read_text() for name in OURS} == {"new"}
    assert names(tmp_path) == ["out"]


def test_what_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(TenfoldError, match=r"out.*thesis\.tex"):
        fill(tmp_path / "out")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("text")
    with pytest.raises(TenfoldError, match="a file"):
        fill(tmp_path / "out")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [False, True])
def test_an_interrupted_result_leaves_what_was_there(tmp_path, error, old):
    if old:
        fill(tmp_path / "out", "old")
    with pytest.raises(error), output_folder(tmp_path / "out", OURS) as folder:
        (folder / "model.so").write_text("half")
        raise error
    assert names(tmp_path) == (["out"] if old else [])
    if old:
        assert (tmp_path / "out" / "model.so").read_text() == "old"


def test_a_folder_that_can_not_be_written_is_an_error(tmp_path, monkeypatch):
    def refuse(*args, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(TenfoldError, match="Permission denied"):
        fill(tmp_path / "out")


def test_a_file_is_written_whole(tmp_path):
    write_text(tmp_path / "a.json", "old")
    with pytest.raises(ValueError), whole_file(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert (tmp_path / "a.json").read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_a_file_in_no_folder_is_an_error(tmp_path):
    with pytest.raises(TenfoldError, match="can't be written"):
        write_text(tmp_path / "nowhere" / "a.json", "text")
