"""Normalised ONNX -> Relax: TVM's importer, with Tenfold's converters for the operators it names, loses or gets wrong."""
from __future__ import annotations

import contextlib
import re
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter, _get_convert_map

from ...support.errors import TenfoldError
from ..quiet import quiet
from ..step import step
from .converters import CONVERTERS

# Operators of other domains that TVM's importer knows by their bare name.
CONTRIB = frozenset(
    ("FastGelu", "BiasGelu", "Gelu", "SkipLayerNormalization", "EmbedLayerNormalization", "MatMulInteger16", "AllClassNMS", "Attention")
)
MOST_OPEN_BLOCKS = 1000
COMPUTED = frozenset(
    getattr(onnx.TensorProto, name)
    for name in ("FLOAT", "DOUBLE", "FLOAT16", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)


def import_relax(model: onnx.ModelProto, name: str) -> tvm.IRModule:
    """One Relax function ``main`` from a normalised ONNX model.

    Parameters
    ----------
    model : onnx.ModelProto
        From `normalize`: static shapes, every layer named.
    name : str
        What errors call the model.

    Returns
    -------
    tvm.IRModule
        Weights are constants in the layout in which they are used, parameters have the names of the inputs, and the result of
        every convolution and dense layer is bound to a variable of the layer's name, before its bias is added.

    Raises
    ------
    TenfoldError
        An operator or a use of it that can't be imported, with the node it is in.
    """
    _check_operators(model, name)
    _check_types(model, name)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    importer = _Importer(name)
    try:
        with quiet(), step(name, "import the graph"):  # the importer prints before it raises
            return importer.from_onnx(model.graph, opset)
    except TenfoldError:
        importer.close()
        raise


def _check_operators(model: onnx.ModelProto, name: str) -> None:
    # If is in TVM's importer but not here: what does not depend on the data is folded by now, and nothing after takes control flow.
    known = (set(_get_convert_map()) | {"Constant"} | set(CONVERTERS)) - {"If"}
    made = {value for node in model.graph.node for value in node.output}
    for node in model.graph.node:
        domain = "" if node.domain in ("", "ai.onnx") else node.domain
        if node.op_type not in known or (domain and not (domain == "com.microsoft" and node.op_type in CONTRIB)):
            operator = f"{domain}.{node.op_type}" if domain else node.op_type
            before = next((repr(value) for value in node.input if value in made), "NAME")
            hint = f"cut the network before it (--outputs {before})"
            raise TenfoldError(f"{name}: operator {operator} (node {node.name!r}) can't be imported: {hint}")


def _check_types(model: onnx.ModelProto, name: str) -> None:
    """Types that NumPy can't hand to TVM, or TVM has no arithmetic for."""
    for tensor in model.graph.initializer:
        _check_type(tensor.data_type, f"{name}: tensor {tensor.name!r}")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.HasField("tensor_type"):
            _check_type(value.type.tensor_type.elem_type, f"{name}: value {value.name!r}")


def _check_type(dtype: int, where: str) -> None:
    if dtype not in COMPUTED and dtype != onnx.TensorProto.UNDEFINED:
        word = onnx.TensorProto.DataType.Name(dtype).lower()
        raise TenfoldError(f"{where} is {word}, which networks can't be compiled in: cast it to float32 in the model, or export in float32")


class _Importer(ONNXGraphImporter):
    """TVM's importer with own converters, bound results, and errors that name the node."""

    def __init__(self, model_name: str):
        super().__init__({}, "float32", keep_params_in_input=False, sanitize=False)
        self.model_name = model_name
        self.declared: dict[str, str] = {}  # node -> dtype of its first output

    def from_onnx(self, graph: onnx.GraphProto, opset: int) -> tvm.IRModule:
        types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
        self.declared = {
            node.name: str(onnx.helper.tensor_dtype_to_np_dtype(types[node.output[0]])) for node in graph.node if types.get(node.output[0])
        }
        return super().from_onnx(graph, opset)

    def _convert_operator(self, op_name: str, inputs: list[relax.Expr], attrs: dict[str, Any], opset: int) -> relax.Expr:
        where = f"{self.model_name}: operator {op_name} (node {attrs['tvm_custom']['name']!r})"
        try:
            converter = CONVERTERS.get(op_name)
            result = converter(self.bb, inputs, attrs) if converter else None
            if result is None:  # no converter of ours, or it leaves this case to TVM's
                result = super()._convert_operator(op_name, inputs, attrs, opset)
            result = self._as_declared(self.bb.normalize(result), attrs["tvm_custom"]["name"])
        except TenfoldError as error:
            raise TenfoldError(f"{where}: {error}") from None
        except Exception as error:
            text, dtype = _line(error), str(getattr(inputs[0].ty, "dtype", "float32")) if inputs else "float32"
            if dtype != "float32" and ("datatype" in text or "dtype" in text):
                raise TenfoldError(f"{where} can't be imported for inputs of {dtype}: cast them to float32") from error
            raise TenfoldError(f"{where} can't be imported: {text}") from error
        if not _is_static(result.ty):
            raise TenfoldError(f"{where}: the size of its output is not known before the network runs")
        wanted, made = attrs["tvm_custom"]["num_outputs"], len(result.ty.fields) if isinstance(result.ty, relax.TupleType) else 1
        if wanted > made:
            raise TenfoldError(f"{where}: only {made} of its {wanted} outputs can be imported")
        return self.bb.emit(result) if isinstance(result, tvm.ir.Call) else result

    def _as_declared(self, result: relax.Expr, node: str) -> relax.Expr:
        """`result` in the dtype that the model declares for it: some operators are computed in a wider one."""
        dtype = self.declared.get(node)
        if dtype is None or not isinstance(result.ty, relax.TensorType) or str(result.ty.dtype) == dtype:
            return result
        return self.bb.normalize(relax.op.astype(self.bb.emit(result) if isinstance(result, tvm.ir.Call) else result, dtype))

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Done by `_check_operators`, which knows the operators of both."""

    def close(self) -> None:
        """End the blocks that a failure left open: a block builder that is dropped with one says so on standard error."""
        with contextlib.suppress(Exception):  # raised when there is none left
            for _ in range(MOST_OPEN_BLOCKS):
                self.bb._end_block()

    def _parse_attr(self, attr_proto: Any) -> dict[str, Any]:
        # The base class refuses attributes that are present but empty, such as axes=[].
        return super()._parse_attr([a for a in attr_proto if a.type != onnx.AttributeProto.INTS or a.ints])


def _is_static(ty: Any) -> bool:
    if isinstance(ty, relax.TupleType):
        return all(_is_static(field) for field in ty.fields)
    if isinstance(ty, relax.TensorType):
        return ty.shape is not None and all(isinstance(size, tvm.tirx.IntImm) for size in ty.shape.values)
    return True


def _line(error: BaseException) -> str:
    """The last line of an error of TVM's, its way of writing numbers and operators made readable."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    for pattern, plain in (
        (r'(?:ir\.Op\(.*?name="|Op\()(?:relax\.)?([\w.]+)"?.*?support_level=\d+\)', r"\1"),
        (r"# Metadata omitted\. Use show_meta=True in script\(\) method to show it\.\s*", ""),
        (r"\b[TR]\.(?:int64|shape)\(([^()]*)\)", r"\1"),
        (r"\b[TR]\.(?=\w)", ""),
    ):
        text = re.sub(pattern, plain, text)
    return text
