"""``.pt2`` files that run code when torch reads them: refused, and nothing of them has run; ordinary files need no trust."""
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tenfold.frontends import load  # noqa: E402
from tenfold.frontends.torch.pickles import strange_globals  # noqa: E402
from tenfold.frontends.torch.pt2_program import Unsafe, safe_program  # noqa: E402
from tenfold.support.errors import TenfoldError  # noqa: E402
from torch import nn  # noqa: E402


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.arange(4.0).reshape(4, 1, 1), persistent=False)
        self.tied = self.conv.weight

    def forward(self, image, gain=None):
        y = self.conv(image) * self.scale + self.tied.mean()
        return {"features": y, "parts": [y.mean((2, 3)), y.reshape(y.shape[0], -1)]}


@pytest.fixture(scope="module")
def program():
    batch = torch.export.Dim("batch", min=1, max=8)
    return torch.export.export(Net().eval(), (torch.randn(2, 3, 8, 8),), dynamic_shapes={"image": {0: batch}})


@pytest.fixture(scope="module")
def ordinary(program, tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.export.save(program, path)
    return path


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it_ran"


def rewritten(source, target, change) -> None:
    """A copy of an archive; `change` takes and returns the dict of its parts."""
    with zipfile.ZipFile(source) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in change(parts).items():
            archive.writestr(f"net/{name}", data)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def edit(parts, name, change):
    table = json.loads(parts[name])
    change(table)
    return {**parts, name: json.dumps(table).encode()}


def sample_inputs(parts, marker):
    return {**parts, "data/sample_inputs/model.pt": saved(((Evil(marker),), {}))}


def bare_sample_inputs(parts, marker):
    return {**parts, "data/sample_inputs/model.pt": pickle.dumps(Evil(marker), protocol=4)}


def weight(parts, marker):
    def change(table):
        entry = next(iter(table["config"].values()))
        entry["use_pickle"], entry["path_name"] = True, "weight_99"

    return {**edit(parts, "data/weights/model_weights_config.json", change), "data/weights/weight_99": saved(Evil(marker))}


def constant(parts, marker, prefix="tensor", data=None):
    def change(table):
        next(iter(table["config"].values())).update(path_name=f"{prefix}_99", use_pickle=True)

    parts = edit(parts, "data/constants/model_constants_config.json", change)
    return {**parts, f"data/constants/{prefix}_99": data or saved(Evil(marker))}


def custom_object(parts, marker):
    return constant(parts, marker, "custom_obj")


def opaque_object(parts, marker):
    return constant(parts, marker, "opaque_obj", pickle.dumps(Evil(marker)))


def old_weights(parts, marker):
    return {**parts, "data/weights/model.pt": saved({"conv.weight": Evil(marker)})}


def old_constants(parts, marker):
    return {**parts, "data/constants/model.pt": saved({"scale": Evil(marker)})}


def in_program(change):
    def attack(parts, marker):
        return edit(parts, "models/model.json", lambda program: change(program, f"__import__('os').mkdir({str(marker)!r})"))

    attack.__name__ = change.__name__
    return attack


@in_program
def symbolic_size(program, code):
    for value in program["graph_module"]["graph"]["tensor_values"].values():
        for size in value["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = code


@in_program
def name_of_an_input(program, code):
    graph = program["graph_module"]["graph"]
    old, new = "image", f"image={code}"
    graph["tensor_values"][new] = graph["tensor_values"].pop(old)
    renamed = json.loads(json.dumps(program["graph_module"]).replace(f'"name": "{old}"', f'"name": {json.dumps(new)}'))
    program["graph_module"] = renamed


@in_program
def operator(program, code):
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"


@in_program
def reading_a_file(program, code):
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def tree(program, change):
    for entry in program["graph_module"]["module_call_graph"]:
        if entry["signature"]:
            version, spec = json.loads(entry["signature"]["in_spec"])
            change(spec)
            entry["signature"]["in_spec"] = json.dumps([version, spec])


@in_program
def keyword(program, code):
    tree(program, lambda spec: spec["children_spec"][1].update(context=json.dumps([f"gain={code}"])))


@in_program
def imported_container(program, code):
    context = json.dumps({"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []})
    tree(program, lambda spec: spec["children_spec"][1].update(type="collections.defaultdict", context=context))


@in_program
def imported_key(program, code):
    key = {"__enum__": True, "fqn": "antigravity:x", "name": "y"}
    tree(program, lambda spec: spec["children_spec"][1].update(context=json.dumps([key])))


@in_program
def name_of_a_module(program, code):
    program["graph_module"]["signature"]["input_specs"][0]["parameter"]["parameter_name"] = f'x", {code}, "'


ATTACKS = [
    sample_inputs, bare_sample_inputs, weight, constant, custom_object, opaque_object, old_weights, old_constants, symbolic_size,
    name_of_an_input, operator, reading_a_file, keyword, imported_container, imported_key, name_of_a_module,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_code_in_a_file_does_not_run(attack, ordinary, tmp_path, marker):
    path = tmp_path / "evil.pt2"
    rewritten(ordinary, path, lambda parts: attack(parts, marker))
    with pytest.raises(TenfoldError, match="--trust") as caught:
        load(path, input_shapes={"image": (2, 3, 8, 8)})
    assert "\n" not in str(caught.value) and not marker.exists()


def test_the_attacks_are_attacks(ordinary, tmp_path, marker):
    """torch itself runs them: what is trusted is read as torch reads it."""
    for attack in (sample_inputs, symbolic_size):
        path = tmp_path / f"{attack.__name__}.pt2"
        rewritten(ordinary, path, lambda parts, attack=attack: attack(parts, marker))
        try:
            load(path, input_shapes={"image": (2, 3, 8, 8)}, trust=True)
        except TenfoldError:
            pass  # what the code returned is no input and no size
        assert marker.exists()
        marker.rmdir()


def test_trust_reads_what_is_refused_without(ordinary, tmp_path, marker):
    """A pickled weight that is a plain tensor in the end: only its way of being stored is refused."""

    class Slow:
        def __reduce__(self):
            return nn.Parameter, (torch.ones(4, 3, 3, 3),)

    def change(parts):
        parts = weight(parts, marker)
        return {**parts, "data/weights/weight_99": saved(Slow())}

    path = tmp_path / "net.pt2"
    rewritten(ordinary, path, change)
    with pytest.raises(TenfoldError, match="is stored as a pickle, which can run any code; .* --trust"):
        load(path)
    load(path, input_shapes={"image": (2, 3, 8, 8)}, trust=True)


def test_guards_are_left_away(ordinary, tmp_path, marker):
    path = tmp_path / "net.pt2"
    code = f"__import__('os').mkdir({str(marker)!r})"
    rewritten(ordinary, path, lambda parts: edit(parts, "models/model.json", lambda program: program.update(guards_code=[code])))
    net = load(path, input_shapes={"image": (2, 3, 8, 8)})
    net.reference({"image": np.zeros((2, 3, 8, 8), np.float32)})
    assert not marker.exists()


def test_a_library_in_the_archive_is_left_away(ordinary, tmp_path):
    path = tmp_path / "net.pt2"
    rewritten(ordinary, path, lambda parts: {**parts, "data/aotinductor/model/x.so": b"not a library", "data/extra/notes": b"\xff"})
    assert load(path, input_shapes={"image": (2, 3, 8, 8)}).inputs[0].shape == (2, 3, 8, 8)
    only_library = {"archive_format": b"pt2", "archive_version": b"0", "data/aotinductor/model/x.so": b"\x7fELF"}
    rewritten(ordinary, path, lambda parts: only_library)
    with pytest.raises(TenfoldError, match="a library compiled by AOTInductor, and no program"):
        load(path)


def test_an_ordinary_file_needs_no_trust(program, ordinary):
    shapes = {"image": (3, 3, 8, 8)}
    net = load(ordinary, input_shapes=shapes)
    x = torch.randn(3, 3, 8, 8)
    want = program.module()(x)
    got = net.reference({"image": x.numpy()})
    for a, b in zip(got, (want["features"], *want["parts"]), strict=True):
        np.testing.assert_array_equal(a, b.detach().numpy())
    assert load(ordinary, input_shapes=shapes, trust=True).onnx == net.onnx


def test_outputs_in_dicts_keep_their_keys(ordinary):
    net = load(ordinary, input_shapes={"image": (2, 3, 8, 8)})
    assert [spec.name for spec in net.outputs] == ["features", "parts.0", "parts.1"]


def test_a_key_that_an_input_or_another_value_has():
    class Keys(nn.Module):
        def forward(self, x):
            relu = x.relu()
            return {"x": relu, "mul": relu + 1, "add": relu * 2}

    net = load(Keys(), example_inputs=torch.randn(1, 3))
    assert [spec.name for spec in net.outputs] == ["x_out", "mul", "add"]
    x = np.float32([[-1, 2, 3]])
    import onnxruntime

    session = onnxruntime.InferenceSession(net.onnx.SerializeToString())
    for name, want in (("x_out", [[0, 2, 3]]), ("mul", [[1, 3, 4]]), ("add", [[0, 4, 6]])):
        np.testing.assert_array_equal(session.run([name], {"x": x})[0], want)


def test_weights_as_torch_2_8_stored_them(program, ordinary, tmp_path):
    """Pickles of plain tensors are read, by torch's restricted reader."""

    def change(parts):
        kept = {name: data for name, data in parts.items() if not name.startswith(("data/weights/", "data/constants/"))}
        tensors = {"data/weights/model.pt": program.state_dict, "data/constants/model.pt": program.constants}
        return {**kept, **{name: saved(dict(state)) for name, state in tensors.items()}}

    path = tmp_path / "old.pt2"
    rewritten(ordinary, path, change)
    x = {"image": np.ones((2, 3, 8, 8), np.float32)}
    shapes = {"image": (2, 3, 8, 8)}
    for a, b in zip(load(path, input_shapes=shapes).reference(x), load(ordinary, input_shapes=shapes).reference(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_bomb(tmp_path, monkeypatch):
    from tenfold.frontends.torch import pt2_archive

    monkeypatch.setattr(pt2_archive, "LARGEST_ARCHIVE", 10_000_000)
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data/weights/weight_0", bytes(10_000_001))
    assert path.stat().st_size < 20_000
    with pytest.raises(TenfoldError, match="larger than 0.0 GB when it is unpacked"):
        load(path)


def test_weights_without_data(ordinary, tmp_path):
    path = tmp_path / "empty.pt2"
    rewritten(ordinary, path, lambda parts: {**parts, "data/weights/weight_0": b""})
    with pytest.raises(TenfoldError, match="not a torch.export program, or cut short"):
        load(path)


@pytest.mark.parametrize(
    "size", ["2*s0 + 1", "Symbol('s40', positive=True, integer=True)", "Max(1, FloorDiv(s0, Integer(2))**2)", "Pow(u0, Integer(2))"]
)
def test_formulas_pass(size):
    assert json.loads(safe_program(json.dumps({"graph_module": {"expr_str": size}}).encode()))["graph_module"]["expr_str"] == size


@pytest.mark.parametrize(
    "size",
    ["open('x')", "s0.__class__", "(lambda: 1)()", "[s0][0]", "f'{s0}'", "9**9**9", "LShift(1, 10**9)", "Symbol('x()')", "eval('1')", "("],
)
def test_other_texts_do_not(size):
    with pytest.raises(Unsafe):
        safe_program(json.dumps({"graph_module": {"expr_str": size}}).encode())


def test_what_a_pickle_calls(tmp_path):
    assert strange_globals(saved(({"a": torch.ones(2, dtype=torch.bfloat16)}, (nn.Parameter(torch.ones(1)), torch.Size([1]))))) == []
    assert strange_globals(pickle.dumps(Evil("x"), protocol=2)) == strange_globals(pickle.dumps(Evil("x"), protocol=4)) == ["posix.mkdir"]
    assert strange_globals(b"\x80\x02nonsense") == ["what can't be read"]
