"""Merged logs have every record once, in one order, whatever order they come in; and no file of the user's has less than before."""
from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_samples import ZEN3, record
from tenfold.runner.tuning_records.record import Record
from tenfold.schedules.space import SPACE_VERSION
from tenfold.support.errors import TenfoldError
from tenfold.support.files.json_lines import append_line, locked_file
from tenfold.tuning.merge import merge
from tenfold.tuning.show import show

ZEN4 = replace(ZEN3, name="znver4", model="AMD EPYC 9654 96-Core Processor")
some_records = st.lists(
    st.builds(
        record, st.sampled_from("abc"), processor=st.sampled_from([ZEN3, ZEN4]), cores=st.sampled_from([1, 2]),
        choice=st.sampled_from([{"pixels": 1}, {"pixels": 2}]), ms=st.sampled_from([0.5, 1.0]), date=st.sampled_from(
            ["2025-01-31T12:00:00Z", "2025-01-31T13:00:00Z"]), space=st.sampled_from([SPACE_VERSION, 99]),
    ), max_size=12,
)  # fmt: skip
slow = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(each.to_line() + "\n" for each in records))
    return path


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(Path(folder).rglob("*.jsonl"))}


def records_in(folder):
    return [Record.of_line(line) for each in content(folder).values() for line in each.splitlines()]


@slow
@given(some_records, some_records)
def test_the_order_of_sources_does_not_matter_and_once_is_enough(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("merge")
    one, two = write(folder / "1.jsonl", *first), write(folder / "2.jsonl", *second)
    report = merge([one, two], folder / "a")
    merge([two, one, two], folder / "b")
    assert content(folder / "a") == content(folder / "b")
    before = content(folder / "a")
    again = merge([one], folder / "a")
    assert content(folder / "a") == before and not again.written
    assert not merge([folder / "a"] if before else [one], folder / "a").written
    found = records_in(folder / "a")
    assert sorted(each.identity for each in found) == sorted({each.identity for each in [*first, *second]})
    for each in found:
        assert each.date == max(other.date for other in [*first, *second] if other.identity == each.identity)
    assert report.records == len(found) == sum(report.written.values()) and report.sources == 2
    assert report.stale == sum(each.space == 99 for each in found)
    assert report.repeated == len({each.to_line() for each in [*first, *second]}) - len(found)


def test_each_processor_has_a_file_and_lines_are_sorted(tmp_path):
    source = write(tmp_path / "x.jsonl", record("b"), record("a", processor=ZEN4), record("a"), record("a", cores=1))
    report = merge([source], tmp_path / "out")
    assert [str(path) for path in content(tmp_path / "out")] == [
        "znver3/amd-epyc-7r13-processor-1.jsonl", "znver3/amd-epyc-7r13-processor-2.jsonl",
        "znver4/amd-epyc-9654-96-core-processor-2.jsonl",
    ]  # fmt: skip
    assert content(tmp_path / "out")[Path("znver3/amd-epyc-7r13-processor-2.jsonl")].decode() == "".join(
        each.to_line() + "\n" for each in (record("a"), record("b"))
    )
    assert sorted(report.written.values()) == [1, 1, 2]


def test_one_record_more_is_one_line_more(tmp_path):
    """Versions of a log can be compared line by line."""
    source = write(tmp_path / "x.jsonl", *(record(name) for name in "abdefg"))
    [(_, before)] = merge([source], tmp_path / "out") and content(tmp_path / "out").items()
    append_line(source, record("c").to_line())
    merge([source], tmp_path / "out")
    [(_, after)] = content(tmp_path / "out").items()
    assert set(after.splitlines()) - set(before.splitlines()) == {record("c").to_line().encode()}
    assert [line for line in after.splitlines() if line != record("c").to_line().encode()] == before.splitlines()


def test_a_file_that_is_there_keeps_what_it_has(tmp_path):
    """Also lines that are no records, and a record that is newer than that of a source; a torn last line alone goes."""
    out = tmp_path / "out" / "znver3" / "amd-epyc-7r13-processor-2.jsonl"
    newer = record("a", date="2026-01-01T00:00:00Z", ms=0.7)
    write(out, newer, record("z"))
    with open(out, "a") as file:
        file.write('# mine\n{"of": "another log"}\n{"operator": "torn')
    report = merge([write(tmp_path / "x.jsonl", record("a"), record("m"))], tmp_path / "out")
    assert out.read_text() == "".join(
        f"{line}\n" for line in [newer.to_line(), record("m").to_line(), record("z").to_line(), "# mine", '{"of": "another log"}']
    )
    assert report.written == {out: 3} and report.repeated == 1 and report.refused == 0


def test_lines_that_are_no_records_are_counted_and_not_copied(tmp_path):
    source = write(tmp_path / "x.jsonl", record("a"))
    with open(source, "ab") as file:
        file.write(b"nonsense\n\xff\xfe\n" + record("b").to_line().encode()[:-30])
    report = merge([source], tmp_path / "out")
    assert report.refused == 2 and f"{source}, line 2: " in report.first_refused
    assert records_in(tmp_path / "out") == [record("a")]


def test_a_source_that_is_not_there_or_empty_is_one_line_and_nothing_is_written(tmp_path):
    source = write(tmp_path / "x.jsonl", record("a"))
    (tmp_path / "empty").mkdir()
    for wrong, why in ((tmp_path / "no.jsonl", "No such file"), (tmp_path / "empty", "there are no tuning logs")):
        with pytest.raises(TenfoldError, match=why):
            merge([source, wrong], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_can_not_be_written_is_one_line_and_as_it_was(tmp_path, monkeypatch):
    source = write(tmp_path / "x.jsonl", record("a"), record("b"))
    out = tmp_path / "out" / "znver3" / "amd-epyc-7r13-processor-2.jsonl"
    write(out, record("z"))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TenfoldError, match="can't be written: No space left on device"):
        merge([source], tmp_path / "out")
    monkeypatch.undo()
    assert records_in(tmp_path / "out") == [record("z")] and [path.name for path in out.parent.iterdir()] == [out.name]
    (tmp_path / "file").write_text("")
    with pytest.raises(TenfoldError, match="can't be written"):
        merge([source], tmp_path / "file")


def test_who_appends_meanwhile_loses_nothing(tmp_path):
    """An append waits for the merge, and goes to the file that the merge has made."""
    out = tmp_path / "out" / "znver3" / "amd-epyc-7r13-processor-2.jsonl"
    write(out, record("a"))
    code = """
import sys
from pathlib import Path
from tenfold.support.files.json_lines import append_line
append_line(Path(sys.argv[1]), sys.argv[2])
"""
    with locked_file(out):  # the append waits, and then comes before or behind the merge
        waiting = subprocess.Popen([sys.executable, "-c", code, out, record("z").to_line()])
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(2)
    merge([write(tmp_path / "x.jsonl", record("m"))], tmp_path / "out")
    assert waiting.wait(60) == 0
    assert sorted(each.workload for each in records_in(tmp_path / "out")) == ["a", "m", "z"]


def test_rows_show_the_best_of_each_workload_and_processor(tmp_path):
    write(tmp_path / "znver3" / "x.jsonl", record("b", ms=0.5, choice={"pixels": 1}), record("b", ms=1.0, choice={"pixels": 2}),
          record("a", space=99), record("a", processor=ZEN4, ms=4.0), record("b", cores=1))  # fmt: skip
    with open(tmp_path / "znver3" / "x.jsonl", "a") as file:
        file.write("nonsense\n")
    rows, skipped = show([tmp_path])
    assert "1 line can't be used" in skipped and "line 6" in skipped
    shown = [(row.processor, row.cores, row.workload, row.ms, row.speedup, row.records, row.stale) for row in rows]
    assert shown == [
        (ZEN3.model, 1, "b", 1.0, 2.0, 1, False), (ZEN3.model, 2, "a", 1.0, 2.0, 1, True), (ZEN3.model, 2, "b", 0.5, 4.0, 2, False),
        (ZEN4.model, 2, "a", 4.0, 0.5, 1, False),
    ]  # fmt: skip
    assert [row.workload for row in show([tmp_path], ["b", "unknown"])[0]] == ["b", "b"]
    with pytest.raises(TenfoldError, match="no such folder"):
        show([tmp_path / "nowhere"])
