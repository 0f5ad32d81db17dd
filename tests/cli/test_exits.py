"""How commands end: options that are not understood, networks that differ, interrupts, warnings."""
from __future__ import annotations

import signal

import pytest
from folder_names import names
from tenfold.support import interrupts


def test_a_wrong_option_is_exit_code_2(tenfold, work):
    assert tenfold("compile", "net.onnx", "-o", "out", "--thread", 2)[0] == 2
    assert tenfold("compile", "net.onnx")[0] == 2
    assert tenfold("compile", "net.onnx", "-o", "out", "--threads", 0)[0] == 2
    assert tenfold("frobnicate")[0] == 2


@pytest.mark.parametrize(("arguments", "words"), [
    (["compile", "net.onnx", "--threads", "0"], "--threads"),
    (["compile", "net.onnx", "--wings", "2"], "--wings"),
    (["compile"], "MODEL"),
    (["fly"], "fly"),
    (["--wings"], "--wings"),
])
def test_options_that_are_not_understood(tenfold, work, arguments, words):
    before = names(work)
    code, out, err = tenfold(*arguments)
    assert code == 2 and not out and err.count("\n") == 1 and err.startswith("tenfold: ") and words in err and "--help" in err
    assert names(work) == before


def test_without_a_word_it_says_what_it_can_do(tenfold):
    code, out, err = tenfold()
    assert code == 2 and "compress" in out + err


def test_a_network_that_differs_is_exit_code_1(tenfold, work, monkeypatch):
    from tenfold.support.errors import VerificationError

    def differ(*args, **keywords):
        raise VerificationError("net.onnx differs")

    monkeypatch.setattr("tenfold.runner.compile.compile", differ)
    code, _, err = tenfold("compile", "net.onnx", "-o", "out")
    assert (code, err) == (1, "tenfold: net.onnx differs\n")


def test_an_interrupt_is_exit_code_130_and_leaves_nothing(tenfold, work, monkeypatch):
    def interrupt(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("tenfold.runner.compile.build_library", interrupt)
    before = names(work)
    code, _, err = tenfold("compile", "net.onnx", "-o", "out")
    assert code == 130 and "Traceback" not in err and names(work) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_inside_tvm_is_no_traceback(tenfold, work, monkeypatch, number):
    """TVM turns whatever a Python callback raises into a RuntimeError."""

    def interrupt(*args, **keywords):
        try:
            interrupts.stop(number, None)
        except KeyboardInterrupt:
            raise RuntimeError("a page of C++") from None

    monkeypatch.setattr(interrupts, "caught", [])
    monkeypatch.setattr("tenfold.runner.compile.build_library", interrupt)
    before = names(work)
    code, _, err = tenfold("compile", "net.onnx", "-o", "out")
    assert code == 128 + number and "Traceback" not in err and names(work) == before


def test_warnings_are_one_line(tenfold, work, monkeypatch):
    import warnings

    loud = lambda: warnings.warn("two\nlines", UserWarning, stacklevel=1) or "a CPU"  # noqa: E731
    monkeypatch.setattr("tenfold.targets.detection.cpu_model", loud)
    code, _, err = tenfold("targets")
    assert code == 0 and err == "tenfold: warning: two lines\n"
