"""What all commands have in common: versions, quiet and verbose, JSON, progress, and how they end."""
from __future__ import annotations

import ctypes
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import onnx
import pytest
from command_checks import tenfold
from conftest import tiny_network
from tenfold.cli import display
from tenfold.support import interrupts
from tenfold.support.errors import TenfoldError
from tenfold.support.progress import reporter

INSPECT = "tenfold.runner.inspect.inspect"


@pytest.fixture
def work(tmp_path, monkeypatch, tiny_file, tiny_artifact):
    """A folder to work in, with a network."""
    monkeypatch.chdir(tmp_path)
    onnx.save(tiny_network(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 3, 8, 8), "float32"))
    return tmp_path


def replace_inspect(monkeypatch, function):
    """`tenfold inspect` does this instead."""
    monkeypatch.setattr(INSPECT, lambda *_, **__: function())


def test_the_version_is_the_package_s(work):
    from importlib.metadata import version

    assert tenfold("--version").out == f"tenfold {version('tenfold')}\n"
    done = subprocess.run([sys.executable, "-m", "tenfold", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tenfold {version('tenfold')}\n"


@pytest.mark.parametrize(("words", "expected"), [
    ("tenfold comp", {"compare", "compile", "compress"}),
    ("tenfold compile net.onnx --target zen", {"zen3", "zen4"}),
    ("tenfold compress net.onnx --method channel", {"channel_svd"}),
    ("tenfold compress net.onnx --method svd,channel", {"svd,channel_svd"}),
    ("tenfold bench net.onnx --against onnxruntime,torch", {"onnxruntime,torch", "onnxruntime,torch-compile"}),
    ("tenfold plot sp", {"spectra"}),
    ("tenfold targets sapph", {"sapphirerapids"}),
])
def test_a_shell_completes(words, expected):
    code = "import sys; sys.argv = ['tenfold']\nfrom tenfold.cli import main\ntry: main()\nfinally: assert 'tvm' not in sys.modules"
    environment = {**os.environ, "_TENFOLD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert set(done.stdout.split()) == expected, done.stderr


def test_what_completion_offers_is_what_there_is():
    from tenfold.cli import complete
    from tenfold.factorization import METHODS
    from tenfold.passes.simplify import rewrite_names
    from tenfold.plots.command import KINDS
    from tenfold.quantization import ACTIVATIONS, CALIBRATIONS
    from tenfold.runner.bench.engines import RIVALS
    from tenfold.runner.bench.gpu_engines import GPU_ENGINES
    from tenfold.runner.changes.measured import FIGURES
    from tenfold.runner.quantize.quantization import INT8
    from tenfold.targets import presets
    from tenfold.targets.target import CPU_PRECISIONS, FP16, PRECISIONS

    assert set(complete.target_names("")) == {"host", *(preset.name for preset in presets())}
    assert set(complete.ENGINES) == {*RIVALS, *GPU_ENGINES} and set(complete.PICTURES) == set(KINDS)
    assert set(complete.FIGURES) == {name.removesuffix("_ms") for name in FIGURES}
    assert set(complete.METHODS) == set(METHODS) and complete.REWRITES == rewrite_names()
    assert (complete.CALIBRATIONS, complete.ACTIVATIONS) == (CALIBRATIONS, ACTIVATIONS) \
        and set(complete.PRECISIONS) == {*PRECISIONS, *CPU_PRECISIONS, INT8} - {FP16}  # which is float16


def noisy(code=None):
    """What the libraries below do: C++ on both descriptors, Python on both streams, a logger, a warning."""
    os.write(1, b"C on 1\n")
    os.write(2, b"C on 2\n")
    ctypes.CDLL(None).puts(b"C by stdio")
    ctypes.CDLL(None).fflush(None)
    print("Python on 1")
    print("Python on 2", file=sys.stderr)
    import logging

    logger = logging.getLogger("some.library")
    logger.addHandler(logging.StreamHandler())
    logger.error("a logger")
    warnings.warn("a [warning]\nof two lines", stacklevel=2)
    raise TenfoldError("net.onnx: it is wrong")


def test_foreign_output_is_kept_off_the_terminal(work, monkeypatch):
    replace_inspect(monkeypatch, noisy)
    warning, error = "tenfold: warning: a [warning] of two lines\n", "tenfold: net.onnx: it is wrong\n"
    outcome = tenfold("inspect", "net.onnx")
    assert (outcome.code, outcome.out, outcome.err) == (2, "", warning + error)
    for arguments in (["-q", "inspect", "net.onnx"], ["inspect", "-q", "net.onnx"], ["inspect", "net.onnx", "--quiet"]):
        assert tenfold(*arguments).err == error


@pytest.mark.parametrize("arguments", [["-v", "inspect", "net.onnx"], ["inspect", "net.onnx", "--verbose"]])
def test_verbose_shows_foreign_output_and_every_step(work, monkeypatch, arguments):
    replace_inspect(monkeypatch, noisy)
    outcome = tenfold(*arguments)
    for words in ("C on 1", "C by stdio", "Python on 1"):
        assert words in outcome.out
    for words in ("C on 2", "Python on 2", "a logger", "reading the network", "it is wrong"):
        assert words in outcome.err


def test_the_unforeseen_is_one_line_that_names_the_step(work, monkeypatch):
    def fail():
        raise ZeroDivisionError("three\nlines\nof [/x] \x1b[31m text")

    replace_inspect(monkeypatch, fail)
    outcome = tenfold("inspect", "net.onnx")
    assert outcome.code == 70 and not outcome.out
    assert re.fullmatch(
        r"tenfold: unforeseen while reading the network: ZeroDivisionError: three lines of \[/x\] \\x1b\[31m text: .*report.*"
        r"tenfold [\d.]+, apache-tvm .*Python 3.*--verbose.*\n", outcome.err
    )
    outcome = tenfold("-v", "inspect", "net.onnx")
    assert outcome.code == 70 and "Traceback" in outcome.err and "in fail" in outcome.err
    assert "unforeseen while reading" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize(("error", "code", "words"), [
    (OSError(28, "No space left on device", "/full/file"), 2, ["/full/file", "No space left", "reading the network"]),
    (PermissionError(13, "Permission denied", "/x"), 2, ["/x: Permission denied"]),
    (MemoryError("80 GB"), 2, ["not enough memory while reading the network", "80 GB"]),
    (OSError("of no kind"), 70, ["OSError"]),
    (RecursionError("too deep"), 70, ["RecursionError"]),
    (SyntaxError("x" * 5000), 70, ["xxx ..."]),
])
def test_what_the_machine_lacks_is_no_fault_of_tenfold(work, monkeypatch, error, code, words):
    def fail():
        raise error

    replace_inspect(monkeypatch, fail)
    outcome = tenfold("inspect", "net.onnx")
    assert outcome.code == code and outcome.err.count("\n") == 1 and len(outcome.err) < 1000
    for word in words:
        assert word in outcome.err


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_shows_what_was_printed_and_names_the_step(work, monkeypatch, number):
    def crash():
        os.write(2, b"LLVM ERROR: out of registers\n")
        os.kill(os.getpid(), number)

    replace_inspect(monkeypatch, crash)
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(number=int(number)), "inspect", "net.onnx"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -number
    assert "LLVM ERROR: out of registers\n" in done.stderr
    assert "died while reading the network" in done.stderr


CRASH = """
import os, sys, tenfold.runner.inspect as module
def crash(*_, **__):
    os.write(2, b"LLVM ERROR: out of registers\\n")
    os.kill(os.getpid(), {number})
module.inspect = crash
from tenfold.cli import main
main()
"""


def test_nothing_is_left_of_the_capture(work, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = set(os.listdir("/proc/self/fd"))
    assert tenfold("inspect", "net.onnx").code == 0
    assert not list(temporary.iterdir()) and set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_says_what_was_kept(work, monkeypatch, number, code):
    def stop(*_, **__):
        interrupts.stop(number, None)

    monkeypatch.setattr(interrupts, "caught", [])
    monkeypatch.setattr("tenfold.runner.compile.build_library", stop)
    outcome = tenfold("compile", "net.onnx", "-o", "out")
    assert (outcome.code, outcome.err) == (code, "tenfold: stopped while compiling: nothing was written\n")
    monkeypatch.setattr("tenfold.search.compress.Search", stop)
    np.savez("d.npz", x=np.ones((64, 3, 8, 8), "float32"), y=np.zeros(64, "int64"))
    outcome = tenfold("compress", "net.onnx", "-o", "out", "--data", "d.npz", "--max-drop", 1, "--cache", "kept/here")
    assert outcome.code == code
    assert "everything measured so far is kept in kept/here: run the same command again" in outcome.err


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(work):
    code = "from tenfold.cli import main; main()"
    command = f"{sys.executable} -c '{code}' targets zen4 | head -n 0; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if not line.startswith("tenfold: [")]  # progress, on a slow machine
    assert not said and done.stdout.strip() in ("0", "141")


def content(*arguments):
    """The JSON that a command prints on standard output; with -q it prints nothing else."""
    outcome = tenfold(*arguments, "--json", "-")
    assert outcome.code == 0, outcome.err
    quiet = tenfold(*arguments, "--json", "-", "-q")
    assert not quiet.err
    return json.loads(outcome.out), outcome.err


@pytest.mark.slow
def test_every_command_has_json(work, tiny_artifact):
    found, err = content("inspect", "net.onnx")
    assert [layer["name"] for layer in found["layers"]] == ["conv", "fc"] and "channel_svd" in err
    found, err = content("compress", "net.onnx", "-o", "small", "--method", "channel-svd", "--energy", "0.5", "--target", "zen3")
    assert found["wrote"] == ["model.onnx", "plan.json", "report.json"] and found["layers"][0]["method"] == "channel_svd"
    report = json.loads((work / "small" / "report.json").read_text())
    assert all(found[name] == report[name] for name in ("before", "after", "output_error", "layers")) and "wrote small" in err
    found, err = content("compile", "net.onnx", "-o", "out")
    manifest = json.loads((work / "out" / "manifest.json").read_text())  # of the second run, which had -q
    assert manifest.pop("command") == f"{found['manifest'].pop('command')} -q" == "tenfold compile net.onnx -o out --json - -q"
    assert found["output"] == "out" and found["manifest"] == manifest and "verified" in err
    found, _ = content("report", "small", "out", "-o", "p.html")
    assert found == {"what": ["small", "out"], "output": "p.html", "bytes": (work / "p.html").stat().st_size}
    found, err = content("run", tiny_artifact, "--input", "x.npy")
    assert found["outputs"]["scores"].items() >= {"dtype": "float32", "shape": [1, 5]}.items() and "scores" in err
    found, _ = content("plot", "parameters", "-o", "p.svg")
    assert found == {"kind": "parameters", "model": None, "output": "p.svg"}
    found, err = content("targets")
    assert {preset["name"] for preset in found["presets"]} >= {"zen3", "zen4"} and found["host"]["cores"] >= 1
    found, _ = content("targets", "zen4")
    assert found["vector_bits"] == 512 and found["tvm"]["mcpu"] == "znver4"


def test_json_has_no_infinity(work, monkeypatch, tiny_artifact):
    from tenfold.cli.answer import Answer

    Answer([], {"a": [float("inf"), 1.5], "b": {"c": float("nan")}}).publish(str(work / "a.json"), False)
    assert json.loads((work / "a.json").read_text()) == {"a": [None, 1.5], "b": {"c": None}}


NOWHERE = [(".", "this is a folder"), ("", "--json '': give the name of a file"), ("none/a.json", "none does not exist")]


@pytest.mark.parametrize(("path", "words"), NOWHERE)
def test_json_that_cannot_be_written_is_refused_before_the_work(work, monkeypatch, path, words):
    replace_inspect(monkeypatch, lambda: pytest.fail("it has begun"))
    outcome = tenfold("inspect", "net.onnx", "--json", path)
    assert outcome.code == 2 and outcome.complaint is None and words in outcome.err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_progress_is_a_bar_with_the_time_left():
    stream = Terminal()
    with display.display(stream, quiet=False, verbose=False) as say:
        say("reading [/x] $a$")
        for done in range(4):
            say(f"factoring layer{done}[bold]", done, 4)
            time.sleep(0.3)
        say.line("tenfold: warning: [/x]")
    shown = stream.getvalue()
    assert "reading [/x] $a$" in shown and "factoring layer3[bold]" in shown and "3 of 4" in shown and "tenfold: warning: [/x]" in shown
    assert re.search(r"\d+:\d\d", shown)


def test_elsewhere_progress_is_a_line_now_and_then_even_if_nothing_is_said(monkeypatch):
    monkeypatch.setattr(display, "FIRST_LINE_AFTER", 0.2)
    monkeypatch.setattr(display, "LINE_EVERY", 0.1)
    stream = io.StringIO()
    with display.display(stream, quiet=False, verbose=False) as say:
        say("compiling\x1b[31m", 3, 8)
        time.sleep(0.8)
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 2 and all(re.fullmatch(r"tenfold: \[ +\d+ s\] compiling\\x1b\[31m: 3 of 8", line) for line in lines)


def test_short_work_says_nothing_elsewhere():
    stream = io.StringIO()
    with display.display(stream, quiet=False, verbose=False) as say:
        say("compiling")
    assert not stream.getvalue()


def test_quiet_says_nothing_anywhere():
    stream = Terminal()
    with display.display(stream, quiet=True, verbose=False) as say:
        say("compiling", 1, 2)
    assert not stream.getvalue()


def test_a_progress_may_take_words_alone():
    words, counts = [], []
    for progress in (reporter(words.append), reporter(lambda step, done=None, total=None: counts.append((step, done, total)))):
        progress("compiling")
        progress("factoring", 1, 7)
    assert words == ["compiling", "factoring: 1 of 7"] and counts == [("compiling", None, None), ("factoring", 1, 7)]
    assert reporter(reporter(words.append)) is not None and reporter(None)("compiling", 1, 2) is None


def test_long_commands_count_what_they_do(work):
    import tenfold as package

    said = []
    package.compile("net.onnx", progress=said.append)
    assert any(re.fullmatch(r"compiling: choosing kernels: \d+ of \d+", words) for words in said)
    assert any(re.fullmatch(r"compiling: generating code: \d+ of \d+", words) for words in said)
    said.clear()
    package.compress("net.onnx", work / "small", package.Recipe("channel_svd", 0.5), progress=said.append)
    assert "choosing the ranks of fc: 1 of 2" in said and "factoring conv: 0 of 1" in said


def test_unknown_keywords_are_refused_by_their_own_name(work):
    import tenfold as package
    from tenfold.frontends import load

    for call in (
        lambda: package.compile("net.onnx", wings=2), lambda: package.compress("net.onnx", "out", wings=2),
        lambda: package.inspect("net.onnx", wings=2), lambda: package.bench("net.onnx", wings=2), lambda: package.load("out", wings=2),
        lambda: load("net.onnx", wings=2), lambda: package.compress("net.onnx", "out", energy=2),
    ):
        with pytest.raises(TypeError, match=r"^\w+\(\) got an unexpected keyword argument '(wings|energy)'"):
            call()


def test_a_method_is_known_in_any_spelling():
    from tenfold.factorization import METHODS, Choice, Plan, method_name

    for name in METHODS:
        for spelled in (name, name.replace("_", "-"), name.upper(), f" {name} "):
            assert method_name(spelled) == Choice(spelled, (1,)).method == name
    text = '{"version": 1, "model": "m", "target": "t", "layers": {"a": {"method": "spatial-svd", "ranks": [3]}}}'
    assert Plan.from_json(text).layers["a"].method == "spatial_svd"
    with pytest.raises(TenfoldError, match="did you mean spatial_svd"):
        method_name("spatal-svd")


@pytest.mark.parametrize("words", ["targets", "targets zen4", "compare b.json b.json", "inspect art"])
def test_what_needs_no_compiler_waits_for_none(work, tiny_artifact, words):
    """These take a tenth of the time that loading TVM takes."""
    (work / "art").symlink_to(tiny_artifact)
    latency = {"median": 1.0, "p90": 1.0, "min": 1.0, "runs": 5, "spread": 0.0}
    row = {"model": "net", "engine": "tenfold", "latency_ms": latency, "macs": 1, "params": 1, "bytes": 1}
    (work / "b.json").write_text(json.dumps({"machine": {"versions": {}}, "threads": 1, "rows": [row]}))
    code = "import sys\nsys.argv = ['tenfold', *sys.argv[1:]]\nfrom tenfold.cli import main\n"
    code += "try: main()\nexcept SystemExit as end: assert not end.code\n"
    code += "assert not {'tvm', 'torch', 'onnx'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
