"""Learning curves as files, and what is shown while training runs."""
from __future__ import annotations

import io
from math import nan

import pytest
from tenfold import TenfoldError
from tenfold.training.loop import Row
from tenfold.training.loop import progress as shown
from tenfold.training.loop.curves import draw, read_csv, write_csv, write_picture

ROWS = [Row(10, 1.0, 0.1, 2.0, 0.25, 1 / 3, 0.3, 12.5), Row(20, 2.0, 0.01, 1.0, 0.5, 0.9, 0.6, 25.0)]


def test_csv_keeps_every_digit(tmp_path):
    write_csv(ROWS, tmp_path / "curves.csv")
    header = (tmp_path / "curves.csv").read_text().splitlines()[0]
    assert header == "step,epoch,rate,train_loss,train_accuracy,test_loss,test_accuracy,seconds"
    assert read_csv(tmp_path / "curves.csv") == ROWS
    (tmp_path / "curves.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TenfoldError, match="not the learning curves of a run"):
        read_csv(tmp_path / "curves.csv")


def test_pictures(tmp_path):
    figure = draw({"baseline": [ROWS, ROWS[:1]], "flattened": [ROWS]})
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines] == ["baseline, train", "baseline, test", "flattened, train", "flattened, test"]
    assert list(accuracy.lines[3].get_ydata()) == [0.3, 0.6] and len(loss.lines[0].get_xdata()) == 1  # as far as all runs came
    assert len(loss.collections) == 2  # the spread, of training and test, of the one that ran twice
    assert len(draw({"autoencoder": [[Row(1, 1.0, 0.1, 1.0, nan, 1.0, nan, 1.0)]]}).axes) == 1
    write_picture(ROWS, "run", tmp_path / "curves.png")
    write_picture([], "run", tmp_path / "none.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_lines_tell_the_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    lines = shown.display_on(stream)
    lines.begin(100, 10)
    for done in range(11, 31):
        now[0] += 2.0
        lines.step(done, 1.5)
    lines.tested(ROWS[0])
    lines.end()
    assert stream.getvalue().splitlines() == [
        "goes on behind step 10/100",
        "step 25/100 loss 1.5000, 0.5 steps/s, 2:30 left",
        "step 10/100 (epoch 1.0) loss 2.0000 accuracy 25.00%; test loss 0.3333 accuracy 30.00%, 0.5 steps/s, 2:20 left",
    ]


def test_a_terminal_gets_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    bar = shown.display_on(Terminal())
    assert isinstance(bar, shown.Bar)
    bar.begin(10, 2)
    bar.step(3, 0.5)
    bar.tested(ROWS[0])
    bar.end()
    assert bar.progress.tasks[0].completed == 3 and bar.progress.tasks[0].description == "loss 0.5000"


@pytest.mark.parametrize("seconds, words", [(0.4, "0:00"), (42, "0:42"), (425, "7:05"), (3600, "1:00:00"), (90061, "25:01:01")])
def test_durations(seconds, words):
    assert shown.duration(seconds) == words
