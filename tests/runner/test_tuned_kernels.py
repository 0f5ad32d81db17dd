"""Compiling with records of the tuner: they are taken where they fit, passed over where not, and the manifest says what came from where."""
from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
import tenfold
from onnx import helper, numpy_helper
from record_samples import other_pixels, record
from tenfold.frontends import load
from tenfold.passes.convolution_runs import find_runs
from tenfold.passes.pipeline import lower
from tenfold.runner.bench.timed_module import TimedModules
from tenfold.runner.devices.here import Here
from tenfold.runner.tuning_records.tune_log import TuneLog
from tenfold.runner.tuning_records.tuned import Tuned
from tenfold.runtime.manifest import Manifest
from tenfold.schedules.backend import backend_of, kernels_of
from tenfold.schedules.space import SPACE_VERSION
from tenfold.support.errors import TenfoldError, TenfoldWarning
from tenfold.targets import resolve

OTHER_MODEL = {"model": "Another CPU"}  # of the same family: others lie in other folders, and are not read


@pytest.fixture(scope="module")
def chosen(tiny_file, tmp_path_factory):
    """What the model chooses, by workload."""
    return tenfold.compile(tiny_file, output=tmp_path_factory.mktemp("chosen") / "net", tune_log=False).manifest


@pytest.fixture
def log(tmp_path):
    return TuneLog(tmp_path / "logs", resolve("host"), Here())


def made_with(chosen, log, **fields):
    """A record of another point than the model's choice; its workload and its point."""
    [(workload, point)] = other_pixels(chosen.choices).items()
    fields["processor"] = replace(log.processor, **fields.get("processor", {}))
    log.append(record(workload, **{"cores": log.cores, "choice": point, **fields}))
    return workload, point


def compiled(tiny_file, tmp_path, logs):
    tenfold.compile(tiny_file, output=tmp_path / "net", tune_log=logs)
    return Manifest.read(tmp_path / "net" / "manifest.json")


def test_a_record_of_this_processor_is_taken_and_the_result_verified(tiny_file, chosen, log, tmp_path):
    workload, point = made_with(chosen, log)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TenfoldWarning)
        manifest = compiled(tiny_file, tmp_path, tmp_path / "logs")
    assert manifest.choices == {**chosen.choices, workload: point} and point != chosen.choices[workload]
    assert manifest.library_sha256 != chosen.library_sha256
    assert manifest.verification["max_rel_error"] < 1e-4
    kernels = manifest.tuning["kernels"]
    assert kernels[workload] == {
        "by": "record", "log": str(log.file), "how": "measured", "ms": 1.0, "base_ms": 2.0, "date": "2025-01-31T12:00:00Z",
    }  # fmt: skip
    assert {name for name, origin in kernels.items() if origin == {"by": "model"}} == kernels.keys() - {workload}


def test_without_logs_the_model_chooses(tiny_file, chosen, log, tmp_path):
    made_with(chosen, log)
    manifest = compiled(tiny_file, tmp_path, False)
    assert manifest.choices == chosen.choices and manifest.library_sha256 == chosen.library_sha256
    assert all(origin == {"by": "model"} for origin in manifest.tuning["kernels"].values())


def test_by_default_the_users_own_log_is_read(tiny_file, chosen, tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    log = TuneLog(None, resolve("host"), Here())
    workload, point = made_with(chosen, log)
    assert log.file.is_relative_to(tmp_path / "cache" / "tune_logs")
    assert compiled(tiny_file, tmp_path, True).choices[workload] == point


def test_a_record_of_how_a_part_of_a_run_is_cut_is_taken(log, tmp_path):
    """A tuner looks at the layers of one kernel at a time, a compilation at the whole run that they are in."""
    target, network = resolve("host"), tmp_path / "net.onnx"
    onnx.save(two_convolutions(), network)
    backend = backend_of(target)
    [links] = find_runs(lower(load(network).mod, backend, until="composites")["main"])
    run = backend.run([link.workload() for link in links], links[0].entering is not None, links[-1].leaving is not None)
    cut = run.space().chosen
    begin, end = next((begin, end) for begin, end in kernels_of(cut) if end - begin < len(cut))
    part = run.between(begin, end)
    other = next(point for point in part.space() if point != part.space().chosen and {**cut, **moved(point, begin)} in run.space())
    log.append(record(part.workload, processor=log.processor, cores=log.cores, choice=other))
    manifest = compiled(network, tmp_path, tmp_path / "logs")
    assert manifest.choices[run.workload] == {**cut, **moved(other, begin)} != cut
    assert manifest.choices[part.workload] == other and manifest.tuning["kernels"][part.workload]["by"] == "record"
    again = tenfold.compile(network, output=tmp_path / "again", choices=tmp_path / "net", tune_log=False).manifest
    assert again.library_sha256 == manifest.library_sha256


def moved(cut, begin):
    """A cut of a part, as a part of that of the run."""
    return {f"layer{begin + number}": kind for number, kind in enumerate(cut.values())}


def two_convolutions():
    """Two 3 x 3 convolutions of many channels, each with a kernel of its own whatever the machine."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((64, 64, 3, 3), "float32") / 24, name) for name in ("v", "w")]
    nodes = [helper.make_node("Conv", [source, weight], [out], pads=[1, 1, 1, 1]) for source, weight, out in ("xvh", "hwy")]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 64, 14, 14]) for name in "xy")
    graph = helper.make_graph(nodes, "two", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_what_is_wanted_comes_first(tiny_file, chosen, log, tmp_path):
    workload, _ = made_with(chosen, log)
    wanted = {workload: chosen.choices[workload]}
    made = tenfold.compile(tiny_file, output=tmp_path / "net", choices=wanted, tune_log=tmp_path / "logs").manifest
    assert made.choices == chosen.choices
    assert made.tuning["kernels"][workload] == {"by": "wanted"}


@pytest.mark.parametrize("fields", [{"processor": OTHER_MODEL}, {"cores": 99}, {"dtype": "tf32"}, {"ms": 2.0}, {"ms": 2.5}], ids=str)
def test_a_record_of_something_else_or_of_nothing_faster_is_not_taken(tiny_file, chosen, log, tmp_path, fields):
    made_with(chosen, log, **fields)
    manifest = compiled(tiny_file, tmp_path, tmp_path / "logs")
    assert manifest.choices == chosen.choices
    assert manifest.tuning["of_other_processors"] == (fields.keys() <= {"processor", "cores"})


@pytest.mark.parametrize("change", [{"pixels": 999}, {"no such knob": 1}, {"algorithm": "magic"}], ids=str)
def test_a_point_that_is_in_the_space_no_more_is_passed_over_and_said_once(tiny_file, chosen, log, tmp_path, change):
    [(workload, point)] = other_pixels(chosen.choices).items()
    log.append(record(workload, processor=log.processor, cores=log.cores, choice={**point, **change}))
    with pytest.warns(TenfoldWarning, match="1 record is of other spaces .* tune again") as told:
        manifest = compiled(tiny_file, tmp_path, tmp_path / "logs")
    assert len([each for each in told if issubclass(each.category, TenfoldWarning)]) == 1
    assert manifest.choices == chosen.choices
    assert manifest.tuning["stale"].keys() == {workload} and manifest.tuning["kernels"][workload] == {"by": "model"}


def test_a_record_of_another_space_version_is_not_taken_and_said(tiny_file, chosen, log, tmp_path):
    made_with(chosen, log, space=SPACE_VERSION + 1)
    with pytest.warns(TenfoldWarning, match="other spaces"):
        assert compiled(tiny_file, tmp_path, tmp_path / "logs").choices == chosen.choices


def test_lines_that_are_no_records_cost_only_themselves(tiny_file, chosen, log, tmp_path):
    workload, point = made_with(chosen, log)
    with open(log.file, "ab") as file:
        file.write(b'{"layer": "of another log"}\n' + bytes(range(256)) + b'\n{"operator": "torn')
    with pytest.warns(TenfoldWarning, match=r"\d lines can't be used, and passed over; the first: .*line 2"):
        assert compiled(tiny_file, tmp_path, tmp_path / "logs").choices[workload] == point


def test_a_folder_that_is_not_there_is_an_error_and_nothing_is_written(tiny_file, tmp_path):
    with pytest.raises(TenfoldError, match="no such folder"):
        tenfold.compile(tiny_file, output=tmp_path / "net", tune_log=tmp_path / "nowhere")
    assert not (tmp_path / "net").exists()


def test_timed_modules_are_built_by_records_too(tiny_file, chosen, log, tmp_path, monkeypatch):
    """They are what a search compares; without that it would time other kernels than it compiles in the end."""
    from tenfold.runner.bench import timed_module

    workload, point = made_with(chosen, log)
    built, build = [], timed_module.build_library

    def watched(*arguments, **named):
        built.append(build(*arguments, **named))
        return built[-1]

    monkeypatch.setattr(timed_module, "build_library", watched)
    modules = TimedModules(resolve("host"), Here(), tmp_path / "logs")
    assert modules.network(load(tiny_file).mod)() > 0
    assert json.loads(json.dumps(built[0].choices[workload])) == point and built[0].origins[workload] == "record"


def test_the_digest_is_that_of_the_points_in_use(chosen, log, tmp_path):
    def digest():
        return Tuned(tmp_path / "logs", resolve("host"), Here()).digest

    (tmp_path / "logs").mkdir()
    assert digest() == "" == Tuned(False, resolve("host"), Here()).digest
    workload, point = made_with(chosen, log)
    first = digest()
    assert first
    made_with(chosen, log, date="2025-02-01T12:00:00Z", ms=1.1)  # the same point, timed once more
    made_with(chosen, log, processor=OTHER_MODEL)
    assert digest() == first
    log.append(record("another", processor=log.processor, cores=log.cores))
    assert digest() not in ("", first)


def test_an_older_manifest_says_nothing_of_records(tiny_artifact, tmp_path):
    content = json.loads((tiny_artifact / "manifest.json").read_text())
    del content["tuning"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert Manifest.read(tmp_path / "manifest.json").tuning is None
