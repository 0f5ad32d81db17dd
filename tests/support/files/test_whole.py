"""Files are written whole or not at all, over no input, and through links."""
from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys

import pytest
from tenfold.support.errors import TenfoldError
from tenfold.support.files.inputs import protect
from tenfold.support.files.whole import whole_file, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(path, words):
    with pytest.raises(TenfoldError, match=words) as caught:
        write_text(path, "new")
    assert "\n" not in str(caught.value)


def test_a_file_is_written_whole(tmp_path):
    write_text(tmp_path / "a.json", "old")
    with pytest.raises(ValueError), whole_file(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert (tmp_path / "a.json").read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_permissions_are_those_of_any_file_or_of_the_one_before(tmp_path):
    umask = os.umask(0)
    os.umask(umask)
    write_text(tmp_path / "a", "x")
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o666 & ~umask
    os.chmod(tmp_path / "a", 0o640)
    write_text(tmp_path / "a", "y")
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o640


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(tmp_path, there):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far/file")
    if there:
        (tmp_path / "far" / "file").write_text("old")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far" / "file").read_text() == "new"
    assert names(tmp_path / "far") == ["file"] and names(tmp_path) == ["far", "link"]


def test_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "circle").symlink_to("circle")
    refused(tmp_path, "this is a folder")
    refused(tmp_path / "none" / "a", "none does not exist")
    refused(tmp_path / "file" / "a", "can't be written")
    refused(tmp_path / ("n" * 300), "File name too long")
    refused(tmp_path / "nul\0", "null")
    refused(tmp_path / "circle", "can't be written")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)
        server.bind("socket")
        refused(tmp_path / "socket", "a socket")
    refused(".", "this is a folder")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    refused("a.json", "can't be written")
    write_text(tmp_path / "a.json", "new")  # an absolute name needs no current folder
    assert names(tmp_path) == ["a.json", "circle", "file", "socket"]


def test_devices_and_pipes_are_written_to_and_stay(tmp_path):
    write_text("/dev/null", "new")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    read, write = os.pipe()
    write_text(f"/dev/fd/{write}", "new")
    os.close(write)
    assert os.read(read, 10) == b"new"
    os.close(read)
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "No such device")  # nobody reads it: it is not waited for
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "new")
    assert os.read(reader, 10) == b"new" and stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    os.close(reader)
    code = "from tenfold.support.files.whole import write_text; print('a table', flush=True); write_text('/dev/stdout', 'new')"
    with open(tmp_path / "out", "wb") as out:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=out)
    assert (tmp_path / "out").read_text() == "a table\nnew"


def test_a_full_device_is_an_error():
    refused("/dev/full", "No space left")


@pytest.mark.parametrize("other", ["same", "link", "hard link", "through a folder", "given as a link"])
def test_an_input_is_not_overwritten(tmp_path, other):
    given = path = tmp_path / "x.npz"
    given.write_text("data")
    if other == "link":
        path = tmp_path / "y.npz"
        path.symlink_to(given)
    elif other == "hard link":
        path = tmp_path / "y.npz"
        os.link(given, path)
    elif other == "through a folder":
        (tmp_path / "folder").symlink_to(tmp_path)
        path = tmp_path / "folder" / "x.npz"
    elif other == "given as a link":
        given = tmp_path / "y.npz"
        given.symlink_to(path)
    with protect(str(given)):
        refused(path, "an input, and would be overwritten")
        write_text(tmp_path / "z.npz", "new")
    assert (tmp_path / "x.npz").read_text() == "data"
    write_text(tmp_path / "x.npz", "new")  # once the work is done it may be


def test_the_files_of_an_artifact_are_inputs(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "manifest.json").write_text("{}")
    with protect(tmp_path / "net", None, 3, {"x": 1}, b"bytes"):
        refused(tmp_path / "net" / "manifest.json", "an input")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("old", [None, "old"])
def test_whatever_call_fails_the_file_is_old_or_new(tmp_path, old, code):
    failed = 0
    for at in range(1, 100):
        path = tmp_path / str(at) / "a.json"
        path.parent.mkdir()
        if old is not None:
            path.write_text(old)
        with pytest.MonkeyPatch.context() as monkeypatch:
            count = fail_at(monkeypatch, at, code)
            try:
                write_text(path, "new")
                done = True
            except TenfoldError as error:
                assert os.strerror(code) in str(error)
                done, failed = False, failed + 1
        assert (path.read_text() if path.exists() else None) == ("new" if done else old), at
        for left in path.parent.glob(".tenfold-*"):  # a folder without its mark goes when it is an hour old
            os.utime(left, (0, 0))
        write_text(path, "newer")
        assert names(path.parent) == ["a.json"] and path.read_text() == "newer"
        if count[0] < at:
            break
    else:
        pytest.fail("the calls never end")
    assert failed > 2


def fail_at(monkeypatch, at, code):
    count = [0]

    def watched(function):
        def call(*args, **keywords):
            count[0] += 1
            if count[0] == at:
                raise OSError(code, os.strerror(code))
            return function(*args, **keywords)

        return call

    for name in ("mkdir", "open", "rename", "replace", "unlink", "rmdir", "write", "chmod"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    return count
