"""A record is a line and back; every other line is refused, for a reason."""
from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_samples import ZEN3, record
from tenfold.runner.tuning_records.processor import Processor
from tenfold.runner.tuning_records.record import FIELDS, LONGEST_LINE, NoRecord, Record, now
from tenfold.support.errors import TenfoldError

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
knobs = st.one_of(st.booleans(), st.integers(0, 1 << 40), names, st.lists(st.integers(0, 1 << 20), max_size=4))
ms = st.floats(1e-6, 1e6)
processors = st.builds(
    Processor, st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True), names, st.sets(names, max_size=4).map(lambda f: tuple(sorted(f))),
    names,
)
records = st.builds(
    record, names, operator=names, epilogue=names, dtype=names, processor=processors, cores=st.integers(1, 1 << 16),
    space=st.integers(0, 99), choice=st.dictionaries(names, knobs, min_size=1, max_size=6), ms=ms, base_ms=ms,
    model_ms=st.none() | ms, trials=st.integers(0, 9999), how=st.sampled_from(["measured", "modelled"]), code=names, date=st.just(now()),
)  # fmt: skip

patient = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(records)
def test_a_record_is_a_line_and_back(made):
    line = made.to_line()
    assert "\n" not in line and "\r" not in line
    assert Record.of_line(line.encode()) == made
    assert list(json.loads(line)) == list(FIELDS)


def test_the_keys_are_in_the_documented_order():
    assert list(json.loads(record().to_line())) == [
        "operator", "workload", "epilogue", "dtype", "target", "cores", "space", "choice", "ms", "base_ms", "model_ms", "trials", "how",
        "code", "date",
    ]  # fmt: skip
    assert list(json.loads(record().to_line())["target"]) == ["name", "instruction_set", "features", "cpu_model"]


def test_tuples_are_lists_as_in_json():
    assert record(choice={"stage": (1, 2)}) == record(choice={"stage": [1, 2]})


@patient
@given(records, st.data())
def test_a_line_that_is_cut_is_refused(made, data):
    line = made.to_line().encode()
    with pytest.raises(NoRecord):
        Record.of_line(line[: data.draw(st.integers(0, len(line) - 1))])


WRONG = [
    ("operator", 3), ("operator", ""), ("operator", "x" * 600), ("workload", None), ("workload", ""), ("workload", ["conv2d"]),
    ("epilogue", 1), ("dtype", ""), ("cores", 0), ("cores", True), ("cores", 2.0), ("cores", 1 << 17), ("cores", "2"),
    ("space", -1), ("space", None),
    ("choice", {}), ("choice", []), ("choice", {"pixels": 1.5}), ("choice", {"pixels": None}), ("choice", {"pixels": {"a": 1}}),
    ("choice", {"pixels": ["a"]}), ("choice", {str(number): number for number in range(2000)}), ("choice", {"": 1}),
    ("ms", 0), ("ms", -1.0), ("ms", "1"), ("ms", None), ("ms", True), ("ms", 1e300), ("base_ms", 0.0), ("base_ms", None), ("model_ms", -1),
    ("trials", -1), ("trials", 1.5), ("how", "guessed"), ("how", None), ("how", ["measured"]), ("code", ""), ("code", 1),
    ("date", "yesterday"), ("date", "2025-02-31T12:00:00Z"), ("date", "2025-01-31T25:00:00Z"), ("date", "2025-01-31 12:00:00"), ("date", 1),
    ("target", None), ("target", {}), ("target", {**ZEN3.to_json(), "more": 1}), ("target", {**ZEN3.to_json(), "name": "../../etc"}),
    ("target", {**ZEN3.to_json(), "name": 1}), ("target", {**ZEN3.to_json(), "features": ["fma", "avx2"]}),
    ("target", {**ZEN3.to_json(), "features": ["a", "a"]}), ("target", {**ZEN3.to_json(), "features": [["a"]]}),
    ("target", {**ZEN3.to_json(), "cpu_model": ["x"]}), ("target", {**ZEN3.to_json(), "cpu_model": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG, ids=[f"{field}-{str(value)[:20]}" for field, value in WRONG])
def test_a_field_that_can_not_be_is_refused_by_name(field, value):
    fields = json.loads(record().to_line())
    with pytest.raises(NoRecord, match=field):
        Record.of_line(json.dumps({**fields, field: value}).encode())


LINE = record().to_line().encode()
HOSTILE = {
    "nothing": b"", "no object": b"[1]", "a number": b"1", "another log": b'{"layer": 1}', "a field too many": LINE[:-1] + b', "x": 1}',
    "twice": LINE[:-1] + b', "ms": 0.1}', "not a number": LINE.replace(b'"ms": 1.0', b'"ms": NaN'),
    "infinity": LINE.replace(b'"ms": 1.0', b'"ms": 1e999'), "digits": LINE.replace(b'"ms": 1.0', b'"ms": ' + b"9" * 5000),
    "brackets": b"[" * 60000, "no UTF-8": LINE.replace(b"relu", b"\xff"), "half a pair": LINE.replace(b"relu", rb"\ud800"),
    "too long": LINE.replace(b"relu", b"r" * LONGEST_LINE), "zeros": bytes(500), "two": LINE + LINE,
}  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_line_is_refused(line):
    with pytest.raises(NoRecord):
        Record.of_line(line)


@patient
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_no_more(content):
    with pytest.raises(NoRecord):
        Record.of_line(content)


UNREADABLE = [{"ms": float("nan")}, {"ms": float("inf")}, {"how": "by hand"}, {"date": "today"}, {"epilogue": "\ud800"}]


@pytest.mark.parametrize("fields", UNREADABLE, ids=str)
def test_what_no_reader_takes_is_not_written(fields):
    with pytest.raises(TenfoldError, match="can't be a record"):
        record(**fields).to_line()
