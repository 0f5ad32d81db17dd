"""ONNX's backend tests of the operators of CNNs, compiled and compared; run as a script, it writes docs/operators.md."""
from __future__ import annotations

import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import tvm
from onnx import compose, numpy_helper
from tenfold.frontends import load
from tenfold.schedules.backend import backend_of
from tenfold.support.errors import TenfoldError

TABLE = Path(__file__).parents[2] / "docs" / "operators.md"
# Kinds of operators that no convolutional network has: text, sequences, training, losses, random numbers, attention, signals, pictures.
LEFT_OUT = re.compile(
    "String|Regex|TfIdf|Sequence|Optional|Adagrad|Adam|Momentum|Gradient|Loss|Bernoulli|Random|Attention|CausalConv|Rotary|Window|DFT|STFT|Mel|"
    "ImageDecoder|Loop|Scan|BitCast|TensorScatter|SwiGLU|Bitwise|BitShift"
)
OTHER_DTYPES = re.compile("bfloat16|bf16|float8|e4m3|e5m2|float4|int4|int2|string", re.IGNORECASE)  # no compiled network has them
# Where ONNX Runtime, by which a network is verified, computes otherwise than the specification.
AS_ONNX_RUNTIME = {
    "test_resize_downsample_scales_cubic_align_corners": "align_corners with a length that is no whole number",
    "test_resize_downsample_scales_linear_align_corners": "align_corners with a length that is no whole number",
}


@dataclass(frozen=True)
class Case:
    """One test of ONNX, with its inputs as they are given, or all but the first as constants of the model."""

    name: str
    operator: str
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]
    outputs: list[np.ndarray]
    rtol: float
    atol: float
    constants: bool

    @property
    def since(self) -> int:
        """The opset in which the operator got the meaning that it has here."""
        opset = next(entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx"))
        return onnx.defs.get_schema(self.operator, opset, "").since_version


QUICK = ("Add", "AveragePool", "BatchNormalization", "Clip", "Gemm", "MatMul", "Pad", "Relu", "Softmax", "Transpose")


def operators() -> list:
    """The operators of the page as parameters of a test, all but a few slow. They are those of `cases`, which take long to collect."""
    import pytest

    names = [row.split(" | ")[0].strip("| ") for row in rows()]
    return [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in names]


@cache
def cases() -> dict[str, list[Case]]:
    """All cases, by operator."""
    from onnx.backend.test.loader import load_model_tests

    found = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of making the data
        tests = [test for kind in ("node", "pytorch-operator", "pytorch-converted") for test in load_model_tests(kind=kind)]
    for test in tests:
        model, data = (test.model, test.data_sets[0]) if test.model is not None else _stored(Path(test.model_dir))
        node = _main_node(model)
        if node is None or test.name.endswith("_expanded") or "_expanded_" in test.name or OTHER_DTYPES.search(test.name):
            continue
        inputs, outputs = ([_array(value) for value in values] for values in data)
        names = [value.name for value in model.graph.input if value.name not in {each.name for each in model.graph.initializer}]
        feeds = dict(zip(names, inputs, strict=False))
        rest = (outputs, test.rtol, test.atol)
        if not inputs or not inputs[0].size:  # no network has an input without elements
            continue
        if all(value.size for value in inputs):
            found[node.op_type].append(Case(test.name, node.op_type, model, feeds, *rest, constants=False))
        if len(names) > 1:
            found[node.op_type].append(Case(test.name, node.op_type, *_with_constants(model, feeds), *rest, constants=True))
    return dict(sorted(found.items()))


def _stored(folder: Path) -> tuple[onnx.ModelProto, tuple[list, list]]:
    model = onnx.load(folder / "model.onnx")
    data = []
    for kind in ("input", "output"):
        files = sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
        data.append([onnx.load_tensor(path) for path in files])
    return model, tuple(data)


def _main_node(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The node that a case is about, if it is one of the operators of CNNs on tensors."""
    foreign = any(node.domain not in ("", "ai.onnx") for node in model.graph.node)
    nodes = [node for node in model.graph.node if node.op_type != "Constant"] or list(model.graph.node)
    names = [node.op_type for node in nodes]
    if foreign or any(value.type.WhichOneof("value") != "tensor_type" for value in (*model.graph.input, *model.graph.output)):
        return None
    if any(LEFT_OUT.search(name) for name in names):
        return None
    layers = [node for node in nodes if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu", "Pad")]
    return (layers or nodes)[0]


def _array(value: np.ndarray | onnx.TensorProto) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _with_constants(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    first, *others = feeds
    copy.graph.initializer.extend(numpy_helper.from_array(feeds[name], name) for name in others)
    kept = [value for value in copy.graph.input if value.name not in others]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy, {first: feeds[first]}


Run = Callable[[tvm.IRModule, list[np.ndarray]], list[np.ndarray]]  # compile a module, and call it


def outcomes(operator: str, run: Run | None = None) -> Iterator[tuple[Case, str]]:
    """Each case of an operator with ``""`` where it is right, else why it is refused or ``WRONG: ...``."""
    return judged(cases()[operator], run)


def judged(some: Iterable[Case], run: Run | None = None) -> Iterator[tuple[Case, str]]:
    """`outcomes` of the cases given; where they run is this machine by default."""
    imported = []
    for case in some:
        try:
            network = load(case.model)
            network.mod  # noqa: B018
            imported.append((case, network))
        except TenfoldError as error:
            yield case, str(error) if "\n" not in str(error) else f"WRONG: more than one line: {error}"
        except Exception as error:
            yield case, f"WRONG: {type(error).__name__} on reading: {error}"
    by_opset = defaultdict(list)
    for case, network in imported:
        by_opset[network.onnx.opset_import[0].version].append((case, network))
    for group in by_opset.values():
        yield from _compiled(group, run or on_host)


def _compiled(group: list[tuple[Case, object]], run: Run) -> Iterator[tuple[Case, str]]:
    """Compile many networks as one; where that fails, each half of them."""
    try:
        results = _run([network for _, network in group], [case.inputs for case, _ in group], run)
    except Exception as error:
        if len(group) > 1:
            yield from _compiled(group[: len(group) // 2], run)
            yield from _compiled(group[len(group) // 2 :], run)
        elif isinstance(error, TenfoldError):
            yield group[0][0], str(error)
        else:
            line = str(error).strip().splitlines()[-1] if str(error).strip() else ""
            yield group[0][0], f"WRONG: {type(error).__name__} on compiling: {line}"
        return
    for (case, _), got in zip(group, results, strict=True):
        yield case, _difference(got, case)


def on_host(mod: tvm.IRModule, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Compile for this machine, in a hurry, and run."""
    from tenfold.passes.pipeline import build
    from tenfold.targets import resolve
    from tvm import relax

    host = resolve("host")
    target = replace(host, tvm={**host.tvm, "opt-level": 0})  # of LLVM: what is computed is the same
    machine = relax.VirtualMachine(build(mod, backend_of(target)), tvm.cpu())
    result = machine["main"](*(tvm.runtime.tensor(value, tvm.cpu()) for value in inputs))
    return [result.numpy()] if hasattr(result, "numpy") else [value.numpy() for value in result]


def _run(networks: list, inputs: list[dict[str, np.ndarray]], run: Run) -> list[list[np.ndarray]]:
    from tenfold.frontends.relax.importer import import_relax

    merged = onnx.ModelProto()
    merged.CopyFrom(networks[0].onnx)
    merged.graph.Clear()
    merged.graph.name = "cases"
    arguments = []
    for number, (network, feeds) in enumerate(zip(networks, inputs, strict=True)):
        graph = compose.add_prefix_graph(network.onnx.graph, f"c{number}/")
        for field in ("node", "initializer", "input", "output", "value_info"):
            getattr(merged.graph, field).extend(getattr(graph, field))
        arguments += [np.array(feeds[spec.name], order="C") for spec in network.inputs]
    split = iter(run(import_relax(merged, "cases"), arguments))
    return [[next(split) for _ in network.outputs] for network in networks]


def _difference(got: list[np.ndarray], case: Case) -> str:
    if case.name in AS_ONNX_RUNTIME:
        return f"as in ONNX Runtime, which differs from ONNX: {AS_ONNX_RUNTIME[case.name]}"
    if not case.outputs:  # nothing to compare with
        return ""
    for a, b in zip(got, case.outputs, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"WRONG: {a.dtype}{list(a.shape)}, not {b.dtype}{list(b.shape)}"
        if not np.allclose(a.astype("float64"), b.astype("float64"), case.rtol, case.atol, equal_nan=True):
            return f"WRONG: off by {np.nanmax(np.abs(a.astype('float64') - b.astype('float64'))):.2g}"
    return ""


def row(operator: str, results: list[tuple[Case, str]]) -> str:
    """The line of an operator in the table."""
    versions = sorted({case.since for case, _ in results})
    names = {case.name for case, _ in results}
    right = {case.name for case, reason in results if not reason}
    computed = [reason for case, reason in results if not case.constants and len(case.inputs) > 1]
    given = f"{sum(not reason for reason in computed)} of {len(computed)}" if computed else ""
    best = {case.name: reason for case, reason in sorted(results, key=lambda item: item[0].constants) if case.name not in right}
    reasons = Counter(_short(reason) for reason in best.values())
    text = "; ".join(f"{reason} ({count})" if count > 1 else reason for reason, count in sorted(reasons.items()))
    return f"| {operator} | {', '.join(map(str, versions))} | {len(right)} of {len(names)} | {given} | {text} |"


def _short(reason: str) -> str:
    """A refusal without the names of model, node and values."""
    node = r"\((?:node|the node that makes) '[^']*'\)"
    reason = re.sub(rf"^[\w-]+: (?:operator \w+ {node}[:,]? |node '[^']*' )?", "", reason)
    reason = re.sub(r":? ?cut the network before .*$|: compile what comes before .*$|; fix it with .*$", "", reason)
    return re.sub(rf" {node}|(?<=[ (])'[^']*' ?", "", reason).replace("|", "/")


def rows() -> Iterator[str]:
    """The lines of the committed table, without its head."""
    return (line for line in TABLE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \w+ \| \d", line))


def head() -> str:
    return f"""# Operators

Which operators of ONNX are compiled, found by compiling ONNX's own tests of them (onnx {onnx.__version__}) and comparing with the outputs
that these ship. `tests/frontends/backend_nodes.py` writes this page, and a test checks it.

*Since opset*: the versions of the operator that were met. *Right*: cases whose outputs agree, with the parameters (weights, sizes, axes,
bounds) as constants of the model. *Parameters computed*: the same where everything is an input of the network. The others are refused with
a message of one line, for the reason in the last column.

| Operator | Since opset | Right | Parameters computed | What is refused |
|---|---|--:|--:|---|
"""


def main() -> None:
    lines = []
    for operator in cases():
        lines.append(row(operator, list(outcomes(operator))))
        print(lines[-1], file=sys.stderr)
    TABLE.write_text(head() + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
