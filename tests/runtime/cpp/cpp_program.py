"""Programs of `tenfold.h`, built with sanitizers, and what they answer: what tests of networks in C++ share."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import tenfold

ROOT = Path(tenfold.__file__).parent
HEADER, EXAMPLE = ROOT / "runtime" / "cpp", ROOT / "examples" / "deploy_cpp"
CHECKS = Path(__file__).with_name("cpp_checks.cc")
COMPILER = os.environ.get("CXX") or "g++"
SANITIZERS = "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"  # optimising what they insert takes three times as long
WARNINGS = "-Wall", "-Wextra", "-Wpedantic", "-Werror"
SECONDS = 120
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"there is no C++ compiler {COMPILER}")


def build(source, program, *options):
    command = [COMPILER, "-std=c++17", "-O1", "-g", "-pthread", f"-I{HEADER}", *WARNINGS, *options, *map(str, source), "-o", str(program)]
    done = subprocess.run([*command, "-ldl"], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return program


def sanitizers(folder):
    """Those options that this compiler has, and whose programs run here."""
    (folder / "empty.cc").write_text("int main() {}\n")
    command = [COMPILER, *SANITIZERS, str(folder / "empty.cc"), "-o", str(folder / "empty")]
    for step in (command, [str(folder / "empty")]):
        if subprocess.run(step, capture_output=True).returncode:
            return ()
    return SANITIZERS


def ask(program, *lines):
    """The answers of the program of checks; a report of a sanitizer, of a leak too, is a failure."""
    text = "".join(" ".join(map(str, line)) + "\n" for line in lines)
    done = subprocess.run([program], input=text, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    answers = done.stdout.split("\n")[:-1]
    assert len(answers) == len(lines)
    return answers


def compared(checks, folder, feeds, threads=0):
    """Run an artifact in Python and in C++."""
    net = tenfold.load(folder)
    work = Path(folder).parent
    (work / "inputs").write_bytes(b"".join(feeds[port.name].tobytes() for port in net.inputs))
    (answer,) = ask(checks, ["run", folder, threads, work / "inputs", work / "outputs"])
    assert answer.startswith("ok ")
    content = (work / "outputs").read_bytes()
    assert content == b"".join(array.tobytes() for array in net.run(feeds).values()) and len(content) > 0
    return int(answer.split(" ")[1])


def refused(checks, folder, words, image):
    (folder.parent / "inputs").write_bytes(image.tobytes())
    (answer,) = ask(checks, ["run", folder, 0, folder.parent / "inputs", folder.parent / "outputs"])
    assert answer.startswith("error ") and words in answer, answer


def run_deploy(deploy, *words):
    done = subprocess.run([deploy, *map(str, words)], capture_output=True, text=True, timeout=SECONDS)
    return done.returncode, done.stdout, done.stderr
