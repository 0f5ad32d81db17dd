"""The log of a processor: what is appended is found again, the best of it, and nothing of another processor."""
from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_samples import ZEN3, record
from tenfold.runner.devices.emulated import Emulated
from tenfold.runner.devices.here import Here
from tenfold.runner.tuning_records import files
from tenfold.runner.tuning_records.files import log_files
from tenfold.runner.tuning_records.processor import Processor
from tenfold.runner.tuning_records.tune_log import TuneLog
from tenfold.schedules.space import SPACE_VERSION
from tenfold.support.errors import TenfoldError, TenfoldWarning
from tenfold.support.files.sole_user import InUse
from tenfold.targets import cpu_presets, detection, resolve

CODE = """
import sys
sys.path.insert(0, sys.argv[2])
from record_samples import record
from tenfold.runner.tuning_records.tune_log import TuneLog
"""
POINTS = [{"pixels": 1}, {"pixels": 2}, {"pixels": 3}]


@pytest.fixture
def target():
    return resolve("zen3")


@pytest.fixture
def log(tmp_path, target):
    return TuneLog(tmp_path, target)


def own(log, workload="a", **fields):
    """A record of the log's processor."""
    return record(workload, **{"processor": log.processor, "cores": log.cores, **fields})


def best(log, *records):
    for each in records:
        log.append(each)
    return {workload: (each.choice["pixels"], each.ms) for workload, each in log.best().items()}


def test_what_is_appended_is_found_again(log, target, tmp_path):
    first, second = own(log), own(log, "b", choice={"order": [1, 2], "flat": True})
    log.append(first)
    assert log.best() == {"a": first}
    log.append(second)
    assert log.best() == {"a": first, "b": second} == TuneLog(tmp_path, target).best()
    assert log.file.read_text() == f"{first.to_line()}\n{second.to_line()}\n"
    assert log.file.parent == tmp_path / "znver3" and log.file.name.endswith("-2.jsonl")


def test_of_one_point_the_newest_counts_and_of_several_the_one_that_gains_most(log):
    old, new = "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"
    point, other = POINTS[:2]
    assert best(log, own(log, choice=point, ms=1.0, date=new), own(log, choice=point, ms=0.5, date=old)) == {"a": (1, 1.0)}
    # Twice as long, but in a session in which the model's choice took four times as long: the machine was slower.
    assert best(log, own(log, choice=other, ms=2.0, base_ms=8.0, date=old)) == {"a": (2, 2.0)}
    assert best(log, own(log, choice=other, ms=7.9, base_ms=8.0, date=new)) == {"a": (1, 1.0)}
    assert best(log, own(log, choice=point, ms=3.0, base_ms=2.0, date="2025-01-03T00:00:00Z")) == {"a": (2, 7.9)}


def test_a_point_that_gains_nothing_is_no_record_to_use(log):
    assert best(log, own(log, ms=2.0, base_ms=2.0, choice=POINTS[0]), own(log, ms=3.0, base_ms=2.0, choice=POINTS[1])) == {}


def test_a_measured_record_comes_before_a_modelled_one(log):
    modelled = own(log, choice=POINTS[0], ms=0.1, how="modelled", date="2026-01-01T00:00:00Z")
    assert best(log, modelled) == {"a": (1, 0.1)}
    assert best(log, own(log, choice=POINTS[1], ms=1.9)) == {"a": (2, 1.9)}
    assert best(log, own(log, choice=POINTS[0], ms=1.95)) == {"a": (2, 1.9)}
    measured = own(log, "b", choice=POINTS[0], ms=2.1)  # what was modelled is refuted
    assert "b" not in best(log, measured, own(log, "b", choice=POINTS[0], ms=0.1, how="modelled", date="2026-01-01T00:00:00Z"))


def test_the_users_own_record_comes_before_one_that_is_shipped(target, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    shipped = TuneLog(tmp_path / "shipped", target)
    shipped.append(own(shipped, choice=POINTS[0], ms=0.1))
    shipped.append(own(shipped, "b", choice=POINTS[2]))
    before = shipped.file.read_bytes()
    log = TuneLog(None, target)
    assert best(log) == {"a": (1, 0.1), "b": (3, 1.0)}
    assert best(log, own(log, choice=POINTS[1], ms=1.5)) == {"a": (2, 1.5), "b": (3, 1.0)}
    assert shipped.file.read_bytes() == before and log.file.is_relative_to(tmp_path / "cache" / "tune_logs")
    assert best(TuneLog(tmp_path / "shipped", target)) == {"a": (1, 0.1), "b": (3, 1.0)}


OTHERS = {
    "model": {"processor": replace(ZEN3, model="Another CPU")},
    "cores": {"cores": 7},
    "dtype": {"dtype": "fp16"},
    "space": {"space": SPACE_VERSION + 1},
}


@pytest.mark.parametrize("what", OTHERS)
def test_records_of_something_else_are_not_used(log, what):
    log.append(own(log, **OTHERS[what]))
    assert log.best() == {} and log.best_of("a") is None
    assert log.unused("a") == {"model": (0, 1), "cores": (0, 1), "dtype": (0, 0), "space": (1, 0)}[what]
    assert [each.workload for each in log.everywhere()] == ["a"]
    assert list(log.hints()) == (["a"] if what in ("model", "cores") else [])


def test_other_features_are_another_processor(log, target, tmp_path):
    log.append(own(log))
    assert TuneLog(tmp_path, replace(target, features=target.features[:-1])).best() == {}
    assert TuneLog(tmp_path, target.with_cores(1)).best() == {}
    assert list(TuneLog(tmp_path, target).best()) == ["a"]


def test_hints_are_of_the_same_instruction_set_and_the_best_ones_first(log):
    zen4 = Processor("znver4", "x86_64", ("avx512f",), "AMD EPYC 9654")
    for fields in ({"processor": zen4, "ms": 1.5}, {"processor": ZEN3, "ms": 1.2, "cores": 64}, {"processor": zen4, "ms": 2.5},
                   {"processor": replace(zen4, name="neoverse-n1", instruction_set="aarch64")}, {"processor": log.processor}):
        log.append(own(log, **fields))
    assert [each.ms for each in log.hints()["a"]] == [1.2, 1.5]
    assert len({each.processor.name for each in log.everywhere()}) == 3


def test_only_the_folder_of_the_processor_is_read(log, tmp_path):
    log.append(own(log))
    (tmp_path / "znver4").mkdir()
    os.mkfifo(tmp_path / "znver4" / "pipe.jsonl")  # a reader would be told
    assert list(log.best()) == ["a"] and log.problems() == ""
    with pytest.warns(TenfoldWarning, match="1 file can't be used.*pipe"):
        assert len(list(log.everywhere())) == 1


def test_a_folder_without_folders_of_processors_is_a_folder_of_logs(log, target, tmp_path):
    log.append(own(log))
    flat = tmp_path / "flat"
    flat.mkdir()
    os.rename(log.file, flat / "mine.jsonl")
    assert list(TuneLog(flat, target).best()) == ["a"]
    assert log_files(tmp_path / "nowhere") == []


def test_what_is_no_record_is_counted_and_the_rest_used(log):
    log.append(own(log))
    odd = own(log, "b").to_line().replace(": ", ":")  # whole, but written by another program
    with open(log.file, "a") as file:
        file.write(f'{{"layer": 1}}\n\n{odd}\n{own(log, "c").to_line().replace("2025", "MMXXV")}\n{own(log, "d").to_line()[:-20]}')
    assert sorted(log.best()) == ["a", "b"]
    assert "2 lines can't be used" in log.problems() and f"{log.file}, line 2: " in log.problems()
    log.append(own(log, "e"))
    assert sorted(log.best()) == ["a", "b", "e"]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_a_log_that_is_cut_at_any_byte_loses_one_record_at_most(log, data):
    log.file.unlink(missing_ok=True)
    for workload in "abcd":
        log.append(own(log, workload))
    content = log.file.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    log.file.write_bytes(content[:cut])
    again = TuneLog(log.file.parents[1], resolve("zen3"))
    whole = content[:cut].count(b"\n") + (content[cut : cut + 1] == b"\n")
    assert sorted(again.best()) == list("abcd"[:whole]) and again.problems() == ""
    again.append(own(log, "z"))
    assert sorted(again.best()) == [*"abcd"[:whole], "z"]


def test_two_tuners_lose_and_mix_nothing(log, tmp_path):
    code = CODE + """
from tenfold.targets import resolve
log = TuneLog(sys.argv[1], resolve("zen3"))
for number in range(500):
    log.append(record(sys.argv[3] * (1 + number % 90), processor=log.processor, cores=log.cores, trials=number))
"""
    helpers = Path(__file__).parents[1]
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path, helpers, who]) for who in "xy"]
    assert [process.wait(120) for process in running] == [0, 0]
    records = list(log.everywhere())
    assert len(records) == 1000 and log.problems() == ""
    for who in "xy":
        assert sorted(each.trials for each in records if who in each.workload) == list(range(500))


def test_a_second_tuner_is_told_who_is_there(log, target, tmp_path):
    with log.alone("tenfold tune a.onnx"):
        with pytest.raises(InUse, match="tenfold tune a.onnx"), TuneLog(tmp_path, target).alone("tenfold tune b.onnx"):
            pass
        log.append(own(log))  # readers and appends go on
        assert list(TuneLog(tmp_path, target).best()) == ["a"]
    with TuneLog(tmp_path, target).alone("tenfold tune b.onnx"):
        pass


def test_a_log_that_can_not_be_written_is_one_line(target, tmp_path):
    (tmp_path / "file").write_text("")
    log = TuneLog(tmp_path / "file", target)
    with pytest.raises(TenfoldError, match="can't be written: Not a directory"):
        log.append(own(log))
    assert log.best() == {} and "1 file can't be used" in log.problems()


def test_the_processor_is_what_runs_the_code():
    target = resolve("host")
    assert Processor.of(target, Here()).model == detection.cpu_model() == target.description
    preset = replace(resolve("zen3"), tvm=target.tvm, features=target.features)
    assert Processor.of(preset, Here()) == Processor.of(target, Here())  # on this machine a preset is this machine
    assert Processor.of(preset).model == preset.description
    assert Processor.of(preset, Emulated("max", "aarch64")).model == preset.description


def test_presets_have_folders_of_their_own_names_and_files_that_can_be_shipped():
    for preset in [*cpu_presets(), resolve("sm_80"), resolve("cuda:sm_80,sm_90")]:
        processor = Processor.of(preset)
        name = processor.file_name(preset.cores)
        assert processor.name.replace("-", "").replace("_", "").isalnum() and len(name) < 80 and name.isascii() and " " not in name
        assert record(processor=processor).to_line()


def test_reading_a_log_imports_no_compiler(tmp_path):
    code = "import sys; import tenfold.runner.tuning_records.tuned; assert not {'tvm', 'torch', 'onnx'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
