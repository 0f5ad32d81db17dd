"""A lock is held by one process, says by whom, and ends with it."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from tenfold.support.errors import TenfoldError
from tenfold.support.files.sole_user import InUse, sole_user

HOLD = """
import sys, time
from pathlib import Path
from tenfold.support.files.sole_user import sole_user
with sole_user(Path(sys.argv[1]), "tenfold tune net.onnx"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "lock"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_one_is_told_who_holds_it(tmp_path, holder):
    with pytest.raises(InUse, match=rf"lock: in use by process {holder.pid} on .* \(tenfold tune net.onnx\) since 20"):
        with sole_user(tmp_path / "lock", "another"):
            pass


def test_the_lock_ends_with_a_process_that_is_killed(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with sole_user(tmp_path / "lock", "another"):
        assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""


def test_the_second_one_can_wait(tmp_path, holder):
    told = []
    timer = threading.Timer(0.5, holder.kill)
    timer.start()
    with sole_user(tmp_path / "lock", "another", told.append):
        assert len(told) == 1 and f"process {holder.pid} " in told[0]
    timer.join()


def test_a_lock_that_can_not_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TenfoldError, match="can't be written"), sole_user(tmp_path / "file" / "lock", "x"):
        pass
    os.symlink(tmp_path / "file", tmp_path / "link")
    with pytest.raises(TenfoldError, match="can't be written"), sole_user(tmp_path / "link", "x"):
        pass
    assert (tmp_path / "file").read_text() == ""


def test_what_a_lock_file_says_is_shown_in_one_line(tmp_path):
    with sole_user(tmp_path / "lock", "x"):
        (tmp_path / "lock").write_bytes(b"a\x1b[2J\nb" + b"\xff" * 9999)
        with pytest.raises(InUse) as error, sole_user(tmp_path / "lock", "y"):
            pass
    assert str(error.value).isprintable() and len(str(error.value)) < 1000
