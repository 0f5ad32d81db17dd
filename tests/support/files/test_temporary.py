"""Temporary folders: those of killed processes are removed by a later one, and nothing else is."""
from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tenfold.support.errors import TenfoldError
from tenfold.support.files.temporary import CONTENT, MARK, TEXT, TemporaryFolder, sweep


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(code):
    """Run Python code that kills itself."""
    code = f"import os, signal\nfrom pathlib import Path\nfrom tenfold.support.files.temporary import TemporaryFolder\n{code}"
    done = subprocess.run([sys.executable, "-c", f"{code}\nos.kill(os.getpid(), signal.SIGKILL)"], capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_it_goes_away_with_the_block_and_with_the_object(tmp_path):
    with TemporaryFolder(tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []
    kept = TemporaryFolder(tmp_path)
    del kept
    gc.collect()
    assert names(tmp_path) == []
    kept = TemporaryFolder(tmp_path)
    kept.remove()
    kept.remove()
    assert names(tmp_path) == []


def test_a_forked_process_leaves_it_alone(tmp_path):
    kept = TemporaryFolder(tmp_path)
    child = os.fork()
    if child == 0:
        kept.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert kept.path.is_dir()
    kept.remove()


def test_a_killed_process_leaves_it_and_a_later_one_removes_it(tmp_path):
    killed(f"kept = TemporaryFolder(Path({str(tmp_path)!r})); (kept.path / 'big').write_text('x')")
    assert len(names(tmp_path)) == 1
    with TemporaryFolder(tmp_path) as folder:
        assert names(tmp_path) == [folder.parent.name]
    assert names(tmp_path) == []


def test_so_it_is_in_the_system_s_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    killed("kept = TemporaryFolder()")
    [left] = names(tmp_path)
    assert left.startswith("tenfold-")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with TemporaryFolder():
        assert left not in names(tmp_path)
    assert names(tmp_path) == []


def test_one_in_use_is_left_alone_by_other_processes(tmp_path):
    with TemporaryFolder(tmp_path) as folder:
        killed(f"TemporaryFolder(Path({str(tmp_path)!r}))")
        assert folder.is_dir()
        code = f"from pathlib import Path; from tenfold.support.files.temporary import sweep; sweep(Path({str(tmp_path)!r}))"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
        assert names(tmp_path) == [folder.parent.name]


def marked(path: Path, text=TEXT):
    path.mkdir()
    (path / MARK).write_bytes(text)
    (path / CONTENT).mkdir()
    (path / CONTENT / "file").write_text("x")


def test_nothing_foreign_is_removed(tmp_path):
    marked(tmp_path / "tenfold-data")  # eight characters are what a name of ours ends in
    marked(tmp_path / "tenfold-abcdefghi")
    marked(tmp_path / "my.tenfold-abcdefgh")
    marked(tmp_path / "tenfold-foreign1", b"my own lock")
    marked(tmp_path / "tenfold-foreign2", b"")
    marked(tmp_path / "tenfold-foreign3", TEXT + b"and more")
    (tmp_path / "tenfold-foreign4").mkdir()
    (tmp_path / "tenfold-foreign4" / "thesis").write_text("years of work")
    (tmp_path / "tenfold-aregular").write_text("a file")
    (tmp_path / "tenfold-mkfifo__").mkdir()
    os.mkfifo(tmp_path / "tenfold-mkfifo__" / MARK)
    (tmp_path / "elsewhere").mkdir()
    marked(tmp_path / "elsewhere" / "tenfold-abcdefgh")
    (tmp_path / "tenfold-alink___").symlink_to("elsewhere/tenfold-abcdefgh")
    (tmp_path / "tenfold-marklink").mkdir()
    (tmp_path / "tenfold-marklink" / MARK).symlink_to("../elsewhere/tenfold-abcdefgh/lock")
    for path in [*tmp_path.iterdir()]:
        os.utime(path, (0, 0), follow_symlinks=False)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_one_that_was_being_made_is_removed_after_an_hour(tmp_path):
    (tmp_path / "tenfold-abcdefg1").mkdir()
    (tmp_path / "tenfold-abcdefg2").mkdir()
    (tmp_path / "tenfold-abcdefg2" / MARK).touch()
    sweep(tmp_path)
    assert len(names(tmp_path)) == 2
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_links_in_it_are_not_followed_when_it_is_removed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "thesis").write_text("years of work")
    killed(f"kept = TemporaryFolder(Path({str(tmp_path)!r})); (kept.path / 'link').symlink_to({str(tmp_path / 'kept')!r})")
    sweep(tmp_path)
    assert names(tmp_path) == ["kept"] and names(tmp_path / "kept") == ["thesis"]


@pytest.mark.parametrize("near", ["none", "file"])
def test_where_none_can_be_made(tmp_path, near):
    (tmp_path / "file").write_text("")
    with pytest.raises(TenfoldError, match="can't be written"):
        TemporaryFolder(tmp_path / near)


def test_no_other_temporary_folders_are_made():
    """All of the package's come from here, or a kill would leave some."""
    package = Path(sys.modules["tenfold"].__file__).parent
    users = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search("mkdtemp|TemporaryDirectory", path.read_text(encoding="utf-8")) and path.relative_to(package).parts[0] != "tests"
    ]
    assert users == ["support/files/temporary.py"]
