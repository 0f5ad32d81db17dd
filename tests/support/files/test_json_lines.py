"""A line is in the file whole or not at all: after kills at any byte, on full disks, and with several processes that append at once."""
from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenfold.support.errors import TenfoldError
from tenfold.support.files import json_lines
from tenfold.support.files.json_lines import append_line, locked_file, read_lines, split_lines

LINES = [json.dumps({"number": number, "text": "é" * (number % 7)}, ensure_ascii=False) for number in range(12)]
CONTENT = "".join(line + "\n" for line in LINES).encode()
FILL = 1 << 16  # bytes of a full disk


def child(code: str, *arguments: object) -> subprocess.Popen:
    """A Python process that has `append_line` and a path."""
    begin = "import os, signal, sys\nfrom pathlib import Path\nfrom tenfold.support.files import json_lines\npath = Path(sys.argv[1])\n"
    command = [sys.executable, "-c", begin + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def numbers(path):
    return [json.loads(line)["number"] for line in read_lines(path).whole]


def test_a_line_is_appended_and_the_folder_made(tmp_path):
    path = tmp_path / "a" / "b.jsonl"
    for line in LINES:
        append_line(path, line)
    assert path.read_bytes() == CONTENT
    assert read_lines(path).whole == CONTENT.splitlines() and not read_lines(path).torn


def test_a_file_that_is_cut_at_any_byte_is_mended_by_the_next_append(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines.os, "fsync", lambda descriptor: None)  # hundreds of them take long
    path = tmp_path / "log.jsonl"
    for cut in range(len(CONTENT) + 1):
        path.write_bytes(CONTENT[:cut])
        whole = CONTENT[:cut].count(b"\n") + (CONTENT[cut : cut + 1] == b"\n")  # a line that lacks its end alone is whole
        assert [line.decode() for line in read_lines(path).whole] == LINES[:whole]
        append_line(path, '{"number": 99}')
        assert path.read_bytes() == "".join(line + "\n" for line in [*LINES[:whole], '{"number": 99}']).encode(), cut


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=30), max_size=5).map(b"\n".join))
def test_whatever_is_in_a_file_an_appended_line_stands_by_itself(tmp_path, content):
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    before = read_lines(path)
    append_line(path, LINES[0])
    after = path.read_bytes()
    assert after.endswith(b"\n" + LINES[0].encode() + b"\n") or after == LINES[0].encode() + b"\n"
    kept = [line for line in split_lines(after).whole[:-1] if line]
    assert kept == [line for line in [*before.whole, *([before.torn] if not before.torn.startswith(b"{") else [])] if line]


def test_two_processes_append_at_once(tmp_path):
    path, each = tmp_path / "log.jsonl", 500
    code = f"""
    for number in range({each}):
        json_lines.append_line(path, '{{"who": ' + sys.argv[2] + ', "number": ' + str(number) + ', "text": "' + "x" * (number % 97) + '"}}')
    """
    running = [child(code, path, who) for who in (1, 2)]
    assert [process.wait(120) for process in running] == [0, 0], [process.stderr.read() for process in running]
    records = [json.loads(line) for line in read_lines(path).whole]
    for who in (1, 2):
        assert [record["number"] for record in records if record["who"] == who] == list(range(each))
    assert len(records) == 2 * each and len(path.read_bytes().splitlines()) == 2 * each


@pytest.mark.parametrize("written", [0, 1, 9, 20])
def test_a_process_that_is_killed_while_it_appends_costs_its_own_line_only(tmp_path, written):
    path = tmp_path / "log.jsonl"
    path.write_bytes(CONTENT)
    code = """
    write = os.write
    def half(descriptor, content):
        write(descriptor, bytes(content)[:int(sys.argv[2])])
        os.kill(os.getpid(), signal.SIGKILL)
    json_lines.os.write = half
    json_lines.append_line(path, '{"number": 12, "text": "lost"}')
    """
    assert child(code, path, written).wait(60) == -signal.SIGKILL
    assert len(path.read_bytes()) == len(CONTENT) + written
    assert numbers(path) == list(range(12)) and len(read_lines(path).torn) == written
    append_line(path, '{"number": 13}')
    assert numbers(path) == [*range(12), 13] and not read_lines(path).torn


@pytest.mark.slow
def test_processes_that_are_killed_at_any_time_leave_whole_lines(tmp_path):
    path, last = tmp_path / "log.jsonl", -1
    code = """
    for number in range(int(sys.argv[2]), 10**6):
        json_lines.append_line(path, '{"number": ' + str(number) + ', "text": "' + "x" * 5000 + '"}')
        print(number, flush=True)
    """
    for _ in range(6):
        process = child(code, path, last + 1)
        for _ in range(7):
            last = int(process.stdout.readline())
        process.kill()
        told = process.communicate()[0].split()
        found = numbers(path)
        assert found == list(range(len(found)))
        assert len(found) >= int([last, *told][-1]) + 1  # what was said to be written is there
        last = found[-1]


def mounted(tmp_path: Path) -> Path | None:
    """A file system of `FILL` bytes; None where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={FILL}", "tmpfs", str(folder)]
    try:
        return folder if subprocess.run(mount, capture_output=True).returncode == 0 else None
    except OSError:
        return None


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    folder = mounted(tmp_path)
    if folder is None:
        pytest.skip("no file system can be mounted here")
    try:
        path, count = folder / "log.jsonl", 0
        with pytest.raises(TenfoldError, match="can't be written: No space left"):
            while count < 10000:
                append_line(path, json.dumps({"number": count, "text": "x" * 700}))
                count += 1
        assert count > 10 and numbers(path) == list(range(count)) and path.read_bytes().endswith(b"\n")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_limit_on_the_size_of_files_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(CONTENT)
    code = f"""
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, ({len(CONTENT) + 10}, {resource.RLIM_INFINITY}))
    try:
        json_lines.append_line(path, '{{"number": 12, "text": "too long"}}')
    except json_lines.TenfoldError as error:
        print(error)
    """
    process = child(code, path)
    told = process.communicate(timeout=60)[0]
    assert "can't be written: File too large" in told
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_a_line_that_does_not_fit_is_taken_back(tmp_path, monkeypatch, fails):
    path = tmp_path / "log.jsonl"
    path.write_bytes(CONTENT)
    write, calls = os.write, []

    def full(descriptor, content=None):
        calls.append(descriptor)
        if content is not None and len(calls) == 1:
            return write(descriptor, bytes(content)[:7])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json_lines.os, fails, full)
    with pytest.raises(TenfoldError, match="log.jsonl: can't be written: No space left on device"):
        append_line(path, '{"number": 12}')
    monkeypatch.undo()
    assert calls and path.read_bytes() == CONTENT


def test_a_file_system_that_can_only_be_read_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    path.write_bytes(CONTENT)

    def refuse(*arguments, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(json_lines.os, "open", refuse)
    with pytest.raises(TenfoldError, match="log.jsonl: can't be written: Read-only file system"):
        append_line(path, "{}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours_to_write_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(TenfoldError, match="can't be written: Permission denied"):
        append_line(tmp_path / "log.jsonl", "{}")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "in a file"])
def test_what_is_no_file_is_neither_waited_for_nor_written(tmp_path, kind):
    path = tmp_path / "log.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        path.write_text("")
        path = path / "log.jsonl"
    with pytest.raises(TenfoldError, match="can't be written"):
        append_line(path, "{}")


def test_a_file_that_is_replaced_meanwhile_is_opened_anew(tmp_path):
    """Whoever waits for the lock of a file that another one takes the place of appends to the new one."""
    path = tmp_path / "log.jsonl"
    append_line(path, LINES[0])
    with locked_file(path):
        waiting = child("json_lines.append_line(path, '{\"number\": 2}')\nprint('done')", path)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(3)
        (tmp_path / "new").write_text('{"number": 1}\n')
        os.replace(tmp_path / "new", path)
    assert waiting.communicate(timeout=60)[0] == "done\n"
    assert numbers(path) == [1, 2]


def test_a_long_line_of_a_stranger_is_left_alone(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"{" * (2 * json_lines.LONGEST_LINE))
    append_line(path, LINES[0])
    assert path.read_bytes() == b"{" * (2 * json_lines.LONGEST_LINE) + b"\n" + LINES[0].encode() + b"\n"
