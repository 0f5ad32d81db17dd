"""A metric of the user's: its file is run, and whatever is wrong with it is one line."""
from __future__ import annotations

import numpy as np
import pytest
from tenfold.search.measures.metric import metric_of
from tenfold.support.errors import TenfoldError

OUTPUTS, LABELS = {"masks": np.arange(6.0).reshape(3, 2)}, {"y": np.array([1, 1, 0])}

FILE = """
import sys
from dataclasses import dataclass

import beside

@dataclass
class Result:
    right: int

def accuracy(outputs, labels):
    from beside import later
    return Result(later((outputs["masks"].argmax(1) == labels["y"]).mean())).right

def wrong_name(outputs, labels):
    return outputs["mask"]

def nothing(outputs, labels):
    pass

def nan(outputs, labels):
    return float("nan")

def infinite(outputs, labels):
    return np.inf

def words(outputs, labels):
    return "0.5"

def yes(outputs, labels):
    return True

def many(outputs, labels):
    return labels["y"] * 0.5

def array(outputs, labels):
    return labels["y"].max()

def leaves(outputs, labels):
    sys.exit(3)

def changes(outputs, labels):
    outputs["masks"][0] = 0
    return 1

def two_lines(outputs, labels):
    raise ValueError("one\\ntwo")

number = 3
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "beside.py").write_text("def later(x):\n    return x\n")
    path = tmp_path / "m.py"
    path.write_text(FILE.replace("import sys\n", "import sys\nimport numpy as np\n", 1))
    return path


def test_a_function_of_a_file_that_imports_another(file):
    metric = metric_of(f"{file}:accuracy")
    assert metric(OUTPUTS, LABELS, "3 images") == pytest.approx(2 / 3)
    assert metric.name == "accuracy" and str(metric) == f"{file}:accuracy" and metric.file == str(file)
    assert metric_of(f"{file}:array")(OUTPUTS, LABELS, "3 images") == 1
    assert sorted(path.name for path in file.parent.iterdir() if path.suffix == ".py") == ["beside.py", "m.py"]


def test_another_text_of_the_file_is_another_metric(file):
    first = metric_of(f"{file}:accuracy").digest
    assert metric_of(f"{file}:accuracy").digest == first
    file.write_text(file.read_text() + "\n# more\n")
    assert metric_of(f"{file}:accuracy").digest != first


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong_name", r"KeyError: 'mask' \(line \d+\), on 3 images"),
        ("nothing", "it gives None, which is not a number"),
        ("nan", "it gives nan on 3 images"),
        ("infinite", "it gives inf on 3 images"),
        ("words", "it gives '0.5', which is not a number"),
        ("yes", "it gives True, which is not a number"),
        ("many", "which is not one number"),
        ("leaves", "SystemExit: 3"),
        ("changes", "ValueError: .*read-only"),
        ("two_lines", "ValueError: one two"),
    ],
)
def test_a_function_that_fails_says_so_in_a_line(file, name, words):
    with pytest.raises(TenfoldError, match=words) as caught:
        metric_of(f"{file}:{name}")(OUTPUTS, LABELS, "3 images")
    assert str(caught.value).startswith(f"--metric {file}:{name}: ") and "\n" not in str(caught.value)
    assert OUTPUTS["masks"][0, 1] == 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("none.py:f", "none.py: no such file"),
        ("{folder}:f", "this is a folder"),
        ("{file}:map", "there is no function 'map' in .*m.py .there is accuracy, wrong_name"),
        ("{file}:number", "there is no function 'number'"),
        ("{file}", "give FILE.py:FUNCTION"),
        ("{file}:", "give FILE.py:FUNCTION"),
        ("{file}:a b", "give FILE.py:FUNCTION"),
        ("{broken}:f", r"SyntaxError: .* \(line 2\), when the file is read"),
        ("{raising}:f", r"ZeroDivisionError: division by zero \(line 1\), when the file is read"),
    ],
)
def test_what_is_no_metric(file, tmp_path, asked, words):
    (tmp_path / "broken.py").write_text("x = 1\nif:\n")
    (tmp_path / "raising.py").write_text("1 / 0\n")
    named = {"file": file, "folder": tmp_path, "broken": tmp_path / "broken.py", "raising": tmp_path / "raising.py"}
    with pytest.raises(TenfoldError, match=words) as caught:
        metric_of(asked.format(**named))
    assert str(caught.value).startswith("--metric ") and "\n" not in str(caught.value)


def test_the_callers_own_function():
    def twice(outputs, labels):
        return 2 * labels["y"].sum()

    metric = metric_of(twice)
    assert metric(OUTPUTS, LABELS, "") == 4 and str(metric) == "twice" and metric.digest == metric_of(twice).digest


def test_a_function_that_depends_on_what_is_around_it_is_never_taken_for_the_same():
    factor = 2

    def times(outputs, labels):
        return factor * labels["y"].sum()

    assert metric_of(times).digest != metric_of(times).digest
