"""Names of layers, values, files and folders are never markup, never mathematics, and never reach a terminal raw: every command in turn."""
from __future__ import annotations

import json
import unicodedata

import numpy as np
import onnx
import pytest
from command_checks import tenfold, tenfold_anew
from conftest import tiny_network
from parsed_page import parse
from search_fakes import classifier, images, labels

PARTS = {
    "markup": ["m[/x]", "[bold red]m[/]", "[link=file:///etc/passwd]m[/link]", ":boom:", "%s %(m)s {} {0} {m.__class__}", "a=1,b"],
    "mathematics": [r"$x$_{y}^2 \frac{1}{0}", "cost$", "'single' \"double\" `back` \\", "$(touch pwned) ; rm -rf * | cat && `id`"],
    "controls": ["two\nlines\r\nand\ttab", "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J", "abc\u202egpj.exe\u2066", "Größe 畳み込み ✓ 🙂"],
    "length": ["layer." * 60],
    "elements": ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "&lt;b&gt; {{7*7}} {% raw %}", "</style></details>-->"],
}
NAMES = {kind: " ".join(parts) for kind, parts in PARTS.items()}
FORBIDDEN_IN_FILES = {"/": "∕", "\0": ""}
LONGEST = 120  # characters of a file's name: in bytes of UTF-8 a system takes 255


def named(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The network with `name` in the names of its nodes, values, weights and graph."""
    renamed = {}
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        renamed[value.name] = value.name = f"{value.name} {name}"
    for node in model.graph.node:
        node.name = f"{node.name} {name}"
        for names in (node.input, node.output):
            for index, each in enumerate(names):
                names[index] = renamed.get(each, f"{each} {name}")
    model.graph.name = name
    return model


@pytest.fixture(params=NAMES)
def place(request, tmp_path, monkeypatch):
    """(a folder of that name with a network of that name in it, the name)."""
    name = NAMES[request.param]
    part = "".join(FORBIDDEN_IN_FILES.get(character, character) for character in name)[:LONGEST]
    folder = tmp_path / f"f {part}"
    folder.mkdir()
    onnx.save(named(tiny_network(), name), folder / f"n {part}.onnx")
    monkeypatch.chdir(tmp_path)
    return folder, folder / f"n {part}.onnx", name


def check(outcome, code=0):
    """That it ended so, and what it printed can be shown on a terminal; what it printed."""
    text = outcome.out + outcome.err
    assert outcome.code == code, text
    assert "Traceback" not in text
    raw = {character for character in text if character != "\n" and unicodedata.category(character) in ("Cc", "Cf")}
    assert not raw, (raw, text)
    return text


def plain(name):
    """What is to be seen of a name: all of it, control characters as escapes."""
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cf") else c.encode("unicode_escape").decode() for c in name)


def check_page(path, *names):
    """That a page holds these names as text, and nothing in them became an element, a script or a control character."""
    raw = path.read_text(encoding="utf-8")
    found = parse(raw)
    assert not {character for character in raw if character != "\n" and unicodedata.category(character) in ("Cc", "Cf")}
    assert len(found.all("script")) == 1 and not found.all("img") and all(link.attributes["href"][0] == "#" for link in found.all("a"))
    for name in names:
        assert " ".join(plain(str(name)).split()) in found.text


@pytest.mark.slow
def test_every_command_shows_names_as_they_are(place):
    folder, model, name = place
    assert plain(name).strip() in check(tenfold("inspect", model))
    listed = json.loads(tenfold("inspect", model, "--json", "-", "-q").out)
    assert [layer["name"] for layer in listed["layers"]] == [f"conv {name}", f"fc {name}"]

    text = check(tenfold("compress", model, "-o", folder / "small", "--method", "channel-svd", "--energy", "0.5", "--target", "zen3"))
    assert plain(name).strip() in text
    again = check(tenfold("compress", model, "-o", folder / "again", "--plan", folder / "small" / "plan.json", "--target", "zen3"))
    assert plain(name).strip() in again

    text = check(tenfold("compile", model, "-o", folder / "out"))
    assert plain(str(folder)) in text
    np.save(folder / "x.npy", np.ones((1, 3, 8, 8), "float32"))
    assert plain(f"scores {name}") in check(tenfold("run", folder / "out", "--input", folder / "x.npy", "-o", folder / "y.npz"))

    page = check(tenfold("report", folder / "small", folder / "out", "-o", folder / "p.html"))
    assert plain(str(folder)) in page
    check_page(folder / "p.html", folder, name)

    for kind in ("spectra", "filters"):
        for suffix in ("png", "svg"):
            check(tenfold("plot", kind, model, "-o", folder / f"p.{suffix}"))


@pytest.mark.slow
def test_bench_shows_names_as_they_are(place):
    folder, model, name = place
    check(tenfold("compile", model, "-o", folder / "out"))
    for arguments in ([model, "--against", "onnxruntime"], [folder / "out", "--profile"]):
        text = check(tenfold("bench", *arguments, "--runs", 2, "--html", folder / "p.html", seconds=300))
        assert plain(str(folder)) in text
        check_page(folder / "p.html", folder)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["markup", "controls"], indirect=True)  # a search takes long; the others are seen elsewhere
def test_a_search_shows_names_as_they_are(place, tmp_path):
    folder, _, name = place
    model, x = classifier(), images(400)
    y = labels(model, x)
    onnx.save(named(model, name), folder / "c.onnx")
    np.savez(folder / "d.npz", x=x, y=y)
    options = ["--data", folder / "d.npz", "--max-drop", "20", "--pareto", "--cache", folder / "cache", "--method", "channel-svd"]
    outcome = tenfold_anew("compress", folder / "c.onnx", "-o", folder / "small", *options, seconds=600)
    assert outcome.complaint is None
    check(outcome, outcome.code)  # whether anything pays is the machine's to say


@pytest.mark.slow
def test_errors_and_targets_show_names_as_they_are(place):
    folder, model, name = place
    for arguments in (
        ["inspect", folder / f"none {plain(name)[:40]}"],
        ["inspect", folder],
        ["inspect", model, "--input-shape", f"{name}=1"],
        ["compress", model, "-o", folder / "o", "--method", name],
        ["compile", model, "-o", folder / "o", "--target", name],
        ["compile", model, "-o", folder / "o", f"--{name}"],
        ["compile", model, "-o", model],
        ["run", folder, "--input", model],
        ["bench", model, "--against", name],
        ["plot", name, model, "-o", folder / "p.png"],
        ["targets", name],
        ["targets", json.dumps({"kind": "llvm", "mcpu": name})],
        [name],
    ):
        outcome = tenfold(*arguments)
        text = check(outcome, 2)
        assert outcome.complaint is None, (arguments, text)
    description = "".join(f"\\U{ord(character):08X}" for character in name)
    (folder / "board.toml").write_text(f'description = "{description}"\n[tvm]\nkind = "llvm"\nmcpu = "znver3"\n')
    assert plain(name).strip() in check(tenfold("targets", folder / "board.toml"))
