"""A page in a browser: it shows what it should, without errors, in narrow and wide windows, light and dark. Skipped where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tenfold
from PIL import Image
from result_samples import bench, profile, row, searched

BROWSER = next(
    (path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")) if path), None
)
SECONDS = 240  # to start on a busy machine
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files", "--enable-logging=stderr",
         "--virtual-time-budget=4000")  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]

# A page around the page: it works it as a reader would, and writes down what it sees.
READER = """<!DOCTYPE html><body style="margin:0"><iframe src="page.html" style="border:0;width:%dpx;height:3000px"></iframe>
<pre id="seen"></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, seen = {}, shown = each => each.checkVisibility();
  seen.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  const beyond = each => each.getBoundingClientRect().right > page.documentElement.clientWidth + 1;
  seen.wide = [...page.querySelectorAll("body *")].filter(beyond).length;
  seen.background = frame.contentWindow.getComputedStyle(page.body).backgroundColor;
  const layers = page.getElementById("layers"), curve = page.getElementById("curve");
  const axes = part => ["ms", "macs", "bytes", "params"].filter(axis => [...part.querySelectorAll(".axis-" + axis)].some(shown));
  seen.axes = [axes(curve), axes(layers)];
  for (const part of [curve, layers]) part.querySelector("[data-show=macs]").click();
  seen.axesThen = [axes(curve), axes(layers)];
  seen.pressed = [...layers.querySelectorAll("[aria-pressed=true]")].map(each => each.textContent);
  const detail = layers.querySelector("details");
  seen.closed = shown(detail.querySelector("svg"));
  detail.querySelector("summary").click();
  seen.open = shown(detail.querySelector("svg"));
  const mark = [...curve.querySelectorAll(".mark")].filter(shown)[1];
  mark.dispatchEvent(new PointerEvent("pointerenter"));
  seen.readout = [curve.querySelector(".readout").textContent, mark.getAttribute("aria-label")];
  seen.bars = [...page.querySelectorAll("#sides .fill")].map(each => Math.round(each.getBoundingClientRect().width));
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a page that has every part."""
    path = tmp_path_factory.mktemp("page")
    rows = row("net.onnx", "tenfold", 2.0, profile=profile()), row("a/very/long/path/" * 9 + "net.onnx", "openvino", 4.0)
    (path / "bench.json").write_text(json.dumps(bench(*rows)))
    tenfold.report([searched(path / "small", "layer_of_a_very_long_name_" * 6), path / "bench.json"], path / "page.html")
    return path


def browse(folder: Path, page: str, *flags: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    profile_folder = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [BROWSER, *FLAGS, profile_folder, *flags, (folder / page).as_uri()], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line], done.stderr
    return done


def seen(folder: Path, width: int, *flags: str) -> dict:
    (folder / "reader.html").write_text(READER % width)
    text = browse(folder, "reader.html", "--window-size=1500,3200", "--dump-dom", *flags).stdout
    return json.loads(text.partition('<pre id="seen">')[2].partition("</pre>")[0].replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.parametrize("width", [1400, 400])
def test_a_reader_can_work_it(folder, width):
    found = seen(folder, width)
    assert found["overflow"] <= 0 and found["wide"] == 0  # nothing is cut off
    assert found["axes"] == [["ms"], ["ms"]] and found["axesThen"] == [["macs"], ["macs"]] and found["pressed"] == ["MACs"]
    assert (found["closed"], found["open"]) == (False, True)
    text, label = found["readout"]
    assert text == label and "points lost" in text
    dense, factored, ours, rival = found["bars"]
    assert rival > dense > factored > 0 and ours == dense


def test_it_is_dark_where_the_reader_wants_it(folder):
    light, dark = (
        sum(map(int, seen(folder, 800, *flags)["background"][4:-1].split(",")))
        for flags in ((), ("--blink-settings=preferredColorScheme=0",))
    )
    assert light == 3 * 255 and dark < 100


@pytest.mark.parametrize("width", [1400, 500])
def test_a_picture_of_it_is_not_empty(folder, width):
    browse(folder, "page.html", f"--window-size={width},1600", f"--screenshot={folder / 'page.png'}")
    with Image.open(folder / "page.png") as image:
        pixels = np.asarray(image.convert("L"), "int16")
    assert pixels.shape == (1600, width)
    busy = (np.abs(np.diff(pixels, axis=1)) > 40).sum(axis=1)  # edges of letters, in each row of the picture
    assert (busy > 4).mean() > 0.2 and (busy[1000:] > 4).any()
