"""The reference of a network: the first of several engines that can run the model, and float64 where that one is not exact enough."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...support.errors import TenfoldError
from .double import tail_of
from .evaluator import TooSlow, evaluator_run
from .padding import asks, with_explicit_pads
from .precision import precision_of
from .retype import cast_like, retyped
from .session import session_run

Inputs = dict[str, np.ndarray]
Run = Callable[..., list[np.ndarray]]  # of inputs by name
Candidate = tuple[str, Callable[[Inputs], Run]]  # its name, and what makes it ready for inputs of these sizes


class Reference:
    """Runs a model as it was given.

    Parameters
    ----------
    name : str
        What errors call the model.
    candidates : sequence of (str, callable)
        Engines, best first. The first that runs is the one.
    model : callable
        Reads the model as ONNX, where its inside is asked for.
    proto : onnx.ModelProto
        The model; what it says of types and inputs is what is looked at, and it is not kept.
    """

    def __init__(self, name: str, candidates: Sequence[Candidate], model: Callable[[], onnx.ModelProto], proto: onnx.ModelProto) -> None:
        self.model_name, self.precision = name, precision_of(proto)
        self._inputs = {value.name for value in proto.graph.input} - {tensor.name for tensor in proto.graph.initializer}
        self._candidates, self._read = list(candidates), model
        self._run: Callable[[Inputs], list[np.ndarray]] | None = None
        self.name = self._candidates[0][0]

    @classmethod
    def of_onnx(
        cls,
        source: Path | onnx.ModelProto,
        proto: onnx.ModelProto | None = None,
        reader: Callable[[], onnx.ModelProto] | None = None,
    ) -> Reference:
        """Make the reference of an ONNX model.

        ONNX Runtime; where it can't run the model, ONNX Runtime on a copy with explicit padding; then ONNX's own reference
        implementation; then, and first for bfloat16, ONNX Runtime on a copy in float32. No copy in another opset is made: what is to be
        verified comes from onnx's converter too, which errs (of ``axis`` of opset 6, for one).

        Parameters
        ----------
        source : Path or onnx.ModelProto
        proto : onnx.ModelProto, optional
            What is in the file, where that was read already. It is not kept.
        reader : callable, optional
            Reads a file, external data included, as it was read and checked before. It is called if the inside of the model is needed.
        """
        if isinstance(source, onnx.ModelProto):
            name, outline = source.graph.name or "model", source if proto is None else proto
        else:
            name, outline = str(source), onnx.load(source, load_external_data=False) if proto is None else proto
        whole: onnx.ModelProto | None = None

        def read() -> onnx.ModelProto:
            nonlocal whole
            if whole is None:
                given = source if isinstance(source, onnx.ModelProto) else onnx.load(source) if reader is None else reader()
                whole = _inlined(given)
            return whole

        def padded(inputs: Inputs) -> onnx.ModelProto:
            return with_explicit_pads(read(), {key: value.shape for key, value in inputs.items()}) if asks(read()) else read()

        precision = precision_of(outline)
        exact = precision.dtype == "bfloat16"  # which Tenfold computes in float32, and hardly any engine on a CPU at all
        candidates: list[Candidate] = [] if exact else [("onnxruntime", lambda inputs: session_run(source))]
        if asks(outline) and not exact:
            candidates.append(("onnxruntime, with explicit pads", lambda inputs: session_run(padded(inputs))))
        if precision.dtype in ("float32", "float64"):  # in fewer bits it would sum up in them too
            candidates.append(("onnx.reference", lambda inputs: evaluator_run(read())))
        if precision.dtype != "float32":
            candidates.append(("onnxruntime, in float32", lambda inputs: _in_type(padded(inputs), TensorProto.FLOAT, session_run)))
            candidates.append(("onnx.reference, in float64", lambda inputs: _in_type(read(), TensorProto.DOUBLE, evaluator_run)))
        return cls(name, candidates, read, outline)

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        """The outputs, in the order of the model.

        Raises
        ------
        TenfoldError
            No candidate can run the model; the message says why each can't.
        """
        strange = sorted(set(inputs) - self._inputs)
        if strange:  # an engine would refuse it, or take it for a new value of a weight
            raise TenfoldError(f"{self.model_name}: the model has no input {strange[0]!r}")
        if self._run is not None:
            return self._run(inputs)
        reasons = []
        for name, make in self._candidates:
            try:
                run = make(inputs)
                results = run(inputs)
            except Exception as error:  # engines have dozens of classes of them
                reasons.append(f"{name}: {_line(error)}")
                continue
            self.name, self._run = name, run
            return results
        raise TenfoldError(f"{self.model_name}: no reference can run this model, so that it can't be verified ({'; '.join(reasons)})")

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The model as it was given, its functions inlined. It is only read.

        Raises
        ------
        TenfoldError
            It can't be read or inlined.
        """
        try:
            return self._read()
        except Exception as error:
            raise TenfoldError(f"{self.model_name}: {_line(error)}") from error

    def values(self, names: Sequence[str], inputs: Inputs) -> dict[str, np.ndarray]:
        """Values inside the model, by name.

        Raises
        ------
        TenfoldError
            They can't be had: neither engine for inner values runs the model.
        """
        wanted = [name for name in dict.fromkeys(names) if name not in inputs]
        exposed = onnx.ModelProto()
        exposed.CopyFrom(self.model)
        del exposed.graph.output[:]
        exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        reasons = []
        for make in (session_run, evaluator_run):
            try:
                found = make(exposed)(inputs) if wanted else []
                return {**{name: inputs[name] for name in names if name in inputs}, **dict(zip(wanted, found, strict=True))}
            except Exception as error:
                reasons.append(_line(error))
        raise TenfoldError(f"{self.model_name}: its inner values can't be had ({'; '.join(reasons)})")

    def tail_in_float64(self, inputs: Inputs) -> tuple[str, list[np.ndarray]]:
        """What `values` gives behind the last layers, and from there on float64: the name of this, and the outputs in float64.

        Raises
        ------
        TenfoldError
            The model ends in a layer, or can't be run so.
        """
        tail, names = tail_of(self.model)
        if not tail.graph.node:
            raise TenfoldError(f"{self.model_name}: nothing follows its last layer")
        results = self._float64(tail, self.values(names, inputs))
        kinds = dict.fromkeys(node.op_type for node in tail.graph.node if node.op_type != "Constant")
        return f"{self.name}, the last operators ({', '.join(kinds)}) in float64", results

    def in_float64(self, inputs: Inputs) -> tuple[str, list[np.ndarray]]:
        """The name of ONNX's reference implementation in float64, and the outputs of the whole model from it, in float64.

        Raises
        ------
        TenfoldError
            It lacks an operator, or would take too long.
        """
        return "onnx.reference in float64", self._float64(self.model, inputs)

    def _float64(self, model: onnx.ModelProto, inputs: Inputs) -> list[np.ndarray]:
        try:
            run = evaluator_run(retyped(model, TensorProto.DOUBLE))
            return run({name: cast_like(value, np.dtype("float64")) for name, value in inputs.items()})
        except Exception as error:
            raise TenfoldError(f"{self.model_name}: it can't be evaluated in float64: {_line(error)}") from error


def onnxruntime_reference(source: Path | onnx.ModelProto) -> Run:
    """A function that runs the model in ONNX Runtime; the session is made when it is first called.

    Raises
    ------
    TenfoldError
        When called: ONNX Runtime can't run the model.
    """
    name, run = (source.graph.name or "model") if isinstance(source, onnx.ModelProto) else str(source), session_run(source)

    def checked(inputs: Inputs) -> list[np.ndarray]:
        try:
            return run(inputs)
        except Exception as error:
            raise TenfoldError(f"{name}: ONNX Runtime can't run this model: {_line(error)}") from error

    return checked


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnx import inliner

    return inliner.inline_local_functions(model) if model.functions else model


def _in_type(model: onnx.ModelProto, to: int, make: Callable[[onnx.ModelProto], Run]) -> Run:
    """`make` on the model with all floats in type `to`, between inputs and outputs of the types that the model declares."""
    run, dtype = make(retyped(model, to)), helper.tensor_dtype_to_np_dtype(to)
    declared = [helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.output]

    def between(inputs: Inputs) -> list[np.ndarray]:
        results = run({name: cast_like(value, dtype) for name, value in inputs.items()})
        return [cast_like(result, to) for result, to in zip(results, declared, strict=True)]

    return between


def _line(error: BaseException) -> str:
    if isinstance(error, TooSlow):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
