"""What is kept survives interrupts, crashes and a second process."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
from tenfold.search.store import Store, cache_folder
from tenfold.support.errors import TenfoldError


def test_what_was_put_is_there_again(tmp_path):
    store = Store(tmp_path / "deep" / "s.jsonl", ("layer", "ranks"))
    store.put({"layer": "a", "ranks": [1, 2], "ms": 0.5})
    store.put({"ranks": [3], "layer": "a", "ms": 0.7})
    store.put({"layer": "a", "ranks": [1, 2], "ms": 0.25})
    again = Store(tmp_path / "deep" / "s.jsonl", ("layer", "ranks"))
    assert len(again) == 2
    assert again.get({"layer": "a", "ranks": [1, 2], "other": 1})["ms"] == 0.25
    assert again.get({"layer": "b", "ranks": [1, 2]}) is None


def test_a_line_cut_short_costs_only_itself(tmp_path):
    path = tmp_path / "s.jsonl"
    store = Store(path, ("k",))
    for k in range(3):
        store.put({"k": k, "v": k})
    path.write_bytes(path.read_bytes()[:-5])
    again = Store(path, ("k",))
    assert [again.get({"k": k}) is not None for k in range(3)] == [True, True, False]
    again.put({"k": 7, "v": 7})
    assert {record["k"] for record in Store(path, ("k",))} == {0, 1, 7}


def test_two_processes_lose_nothing(tmp_path):
    one, two = (Store(tmp_path / "s.jsonl", ("k",)) for _ in range(2))
    one.put({"k": 1})
    two.put({"k": 2})
    one.put({"k": 3})
    assert {record["k"] for record in Store(tmp_path / "s.jsonl", ("k",))} == {1, 2, 3}


def test_shipped_records_are_read_and_not_written(tmp_path):
    shipped = tmp_path / "shipped.jsonl"
    shipped.write_text(json.dumps({"k": 1, "v": "shipped"}) + "\n" + json.dumps({"of": "another kind"}) + "\n")
    store = Store(tmp_path / "own.jsonl", ("k",), [shipped, tmp_path / "absent.jsonl"])
    assert store.get({"k": 1})["v"] == "shipped" and len(store) == 1
    before = shipped.read_bytes()
    store.put({"k": 1, "v": "own"})
    assert Store(tmp_path / "own.jsonl", ("k",), [shipped]).get({"k": 1})["v"] == "own"
    assert shipped.read_bytes() == before


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "s.jsonl").mkdir()
    with pytest.raises(TenfoldError, match="s.jsonl"):
        Store(tmp_path / "s.jsonl", ("k",))
    store = Store(tmp_path / "file" / "s.jsonl", ("k",))
    (tmp_path / "file").write_text("")
    with pytest.raises(TenfoldError, match="file.*can't be written"):
        store.put({"k": 1})


def test_where_the_cache_is(monkeypatch, tmp_path):
    for name in ("TENFOLD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path.home() / ".cache" / "tenfold"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "tenfold"
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
