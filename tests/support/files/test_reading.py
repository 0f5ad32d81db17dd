"""What the user names is read within bounds, and JSON strictly."""
from __future__ import annotations

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.support.errors import TenfoldError
from tenfold.support.files.json_text import parse_json, read_json
from tenfold.support.files.regular import open_regular, read_regular


def refused(call, words):
    with pytest.raises(TenfoldError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link", 7) == b"content"
    refused(lambda: read_regular(tmp_path / "a", 6), "larger")


def test_nothing_else_is_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: open_regular(tmp_path / "pipe"), "pipe")
    refused(lambda: open_regular("/dev/zero"), "device")
    refused(lambda: open_regular(tmp_path), "folder")
    refused(lambda: open_regular(tmp_path / "none"), "No such file")
    refused(lambda: open_regular(tmp_path / ("n" * 300)), "too long")
    refused(lambda: open_regular(tmp_path / "nul\0"), "null")
    refused(lambda: read_regular("/proc/self/pagemap", 1 << 20), "larger|can't be read")  # says that it is empty, and has no end
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        refused(lambda: open_regular("socket"), "socket")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_read_as_it_was_written(value):
    assert parse_json(json.dumps(value), "a") == value
    assert parse_json(json.dumps(value, ensure_ascii=False), "a") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1"),
        ("{", "not JSON"),
        ("[1] [2]", "Extra data"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands there twice"),
        ("[NaN]", "NaN is not a finite number"),
        ("[-Infinity]", "not a finite number"),
        ("[1e999]", "not a finite number"),
        ("[" * 100_000, "too deeply"),
        ('{"a":' * 100_000, "too deeply"),
        ("[" * 100_000 + "]" * 100_000, "too deeply"),
        ("1" * 5000, "thousands of digits"),
        ('["\\ud800"]', "surrogates"),
        ('{"\\udfff": 1}', "surrogates"),
        ('["\x01"]', "control character"),
    ],
)
def test_what_is_no_json_is_refused(text, words, tmp_path):
    refused(lambda: parse_json(text, "a.json"), f"^a.json: .*{words}")
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    refused(lambda: read_json(tmp_path / "a.json"), words)


def test_other_encodings_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a") == [1]
    for content in (b"\xff\xfe[\x001\x00]\x00", b'["\xe9"]', b'["\xed\xa0\x80"]'):
        (tmp_path / "a").write_bytes(content)
        refused(lambda: read_json(tmp_path / "a"), "not UTF-8")
