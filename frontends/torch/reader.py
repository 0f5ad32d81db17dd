"""torch -> Network: ExportedProgram, .pt2 or nn.Module is exported to ONNX and takes the same route. torch is the reference."""
from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ...support.errors import TenfoldError
from ..network import Network, tensor_specs
from ..onnx.cut import cut
from ..onnx.normalize import normalize
from ..onnx.reader import digest
from ..quiet import quiet
from ..reading import Reading
from ..reference import Reference
from .output_keys import key_outputs
from .pt2_archive import CHATTY, load_program

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


def load_torch(source: Any, reading: Reading) -> Network:
    """A network from a ``.pt2`` file, an ExportedProgram, or an nn.Module and the inputs to trace it with.

    Layers carry the names of their modules (``features.0``). A module is traced in eval mode and left in the mode it was in.

    Raises
    ------
    TenfoldError
        torch is not installed, the file is not (all of) a program, a module came without inputs, or the program can't be exported.
    """
    try:
        import torch
    except ImportError:
        raise TenfoldError('reading a torch model needs torch: pip install "tenfold[torch]"') from None
    module = sha256 = None
    if isinstance(source, Path):
        name = str(source)
        program, data = load_program(source, reading.trust)
        sha256 = hashlib.sha256(data).hexdigest()
    elif isinstance(source, torch.export.ExportedProgram):
        name, program = type(source).__name__, source
    elif isinstance(source, torch.nn.Module):
        name, program, module = type(source).__name__, _trace(source, reading.example_inputs), source
    else:
        raise TenfoldError(f"can't read a {type(source).__name__}: give a path, an ONNX ModelProto, an ExportedProgram or an nn.Module")
    _refuse_training(program, name)
    whole = _to_onnx(program, name)
    key_outputs(whole, program.call_spec.out_spec)
    proto = cut(whole, reading.outputs, name)
    with quiet(*CHATTY):
        normalised = normalize(proto, reading, name)
    return Network(
        name=name,
        onnx=normalised,
        inputs=tensor_specs(normalised.graph.input),
        outputs=tensor_specs(normalised.graph.output),
        sha256=sha256 or digest(normalised),
        # torch returns what the program returns: where that is cut, the graph that torch exported is run.
        run_reference=_torch_reference(name, program, module, proto) if proto is whole else Reference.of_onnx(proto),
    )


def _trace(module: Any, example_inputs: Any) -> ExportedProgram:
    import torch

    name = type(module).__name__
    if example_inputs is None:
        raise TenfoldError(f"{name} is an nn.Module: give example_inputs (a tensor, or a tuple of tensors) to trace it with")
    keywords = example_inputs if isinstance(example_inputs, dict) else {}
    positional = () if keywords else example_inputs if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    positional = tuple(torch.as_tensor(x) for x in positional)
    keywords = {key: torch.as_tensor(x) for key, x in keywords.items()}
    try:
        with _evaluating(module), torch.no_grad(), quiet(*CHATTY):
            return torch.export.export(module, positional, keywords)
    except Exception as error:
        raise TenfoldError(f"{name}: torch.export can't trace it: {_line(error)}") from None


def _refuse_training(program: ExportedProgram, name: str) -> None:
    """A program traced in training mode has batch statistics and random masks in it, which no switch turns off any more.

    A batch norm of a weight (weight standardisation) takes the statistics of that weight in every mode: it is a constant.
    """
    inputs = set(program.graph_signature.user_inputs)
    dependent: set[Any] = set()
    for node in program.graph.nodes:
        if node.name in inputs or not dependent.isdisjoint(node.all_input_nodes):
            dependent.add(node)
        target = str(node.target)
        drops = "dropout" in target
        if not (drops or "batch_norm" in target and node in dependent):
            continue
        arguments = _arguments(node)
        if "with_update" not in target and True not in (arguments.get("training"), arguments.get("train")):
            continue
        if not drops and arguments.get("running_mean") is None:
            raise TenfoldError(
                f"{name}: batch norm {node.name} has no running statistics (track_running_stats=False): it would normalise with those of"
                " the batch, which Tenfold does not"
            )
        raise TenfoldError(f"{name}: exported in training mode (node {node.name}): call model.eval() before torch.export.export")


def _arguments(node: torch.fx.Node) -> dict[str, Any]:
    """The arguments of a call of an operator, by name."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _to_onnx(program: ExportedProgram, name: str) -> onnx.ModelProto:
    import torch

    try:
        with quiet(*CHATTY):
            return torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    except Exception as error:
        raise TenfoldError(f"{name}: torch.onnx.export can't convert it: {_line(error.__cause__ or error)}") from None


def _torch_reference(name: str, program: ExportedProgram, module: torch.nn.Module | None, proto: onnx.ModelProto) -> Reference:
    """The module as it was given, or where only the program was given, that, run in torch; in float64, what was exported of it."""
    import torch

    names = [value.name for value in proto.graph.input]

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in names]
        arguments = torch.utils._pytree.tree_unflatten(tensors, program.call_spec.in_spec)
        with torch.no_grad(), _evaluating(module) if module is not None else contextlib.nullcontext():
            result = (module or program.module())(*arguments[0], **arguments[1])
        return [leaf.numpy() for leaf in torch.utils._pytree.tree_leaves(result)]

    return Reference(name, [("torch", lambda inputs: run)], lambda: proto, proto)


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Put every part of a module into eval mode for a while, and then back into its own mode."""
    modes = [(child, child.training) for child in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def _line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
