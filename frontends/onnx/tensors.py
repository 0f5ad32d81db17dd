"""Tensors of an ONNX file: whether element type, sizes and bytes agree, before anything makes an array of them."""
from __future__ import annotations

import math

import onnx
from onnx import TensorProto, helper

from ...support.errors import TenfoldError
from ...support.files.regular import LARGEST_MESSAGE

# Elements of these lie in a byte together.
PACKED_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
    if hasattr(TensorProto, name)
}
FIELDS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")
KNOWN = frozenset(helper.get_all_tensor_dtypes())


def bits_of(dtype: int) -> int:
    """Bits of one element of an ONNX element type other than STRING."""
    return PACKED_BITS.get(dtype) or 8 * helper.tensor_dtype_to_np_dtype(dtype).itemsize


def count_of(dims: list[int]) -> int:
    """Elements of a tensor of these sizes."""
    return math.prod(dims)


def bytes_of(dtype: int, count: int) -> int:
    """Bytes of `count` elements."""
    return -(-count * bits_of(dtype) // 8)


def check_tensor(tensor: onnx.TensorProto, where: str) -> None:
    """Raise TenfoldError unless the tensor is one: a known element type, sizes of 0 or more, and just the data that they need.

    Parameters
    ----------
    tensor : onnx.TensorProto
        Data outside the file is not looked at.
    where : str
        How the error begins: the file and the place in it.
    """
    _check_form(tensor, where)
    if tensor.data_location == TensorProto.EXTERNAL:
        return
    count, filled = count_of(tensor.dims), [field for field in FIELDS if len(getattr(tensor, field))]
    if tensor.HasField("raw_data"):
        if tensor.data_type == TensorProto.STRING:
            raise TenfoldError(f"{where}: strings can't be given as raw bytes")
        if filled:
            raise TenfoldError(f"{where}: gives its values twice, as raw bytes and as {filled[0]}")
        needed = bytes_of(tensor.data_type, count)
        if len(tensor.raw_data) != needed:
            raise TenfoldError(f"{where}: {describe(tensor)} needs {needed} bytes, the file has {len(tensor.raw_data)}")
        return
    field = "string_data" if tensor.data_type == TensorProto.STRING else helper.tensor_dtype_to_field(tensor.data_type)
    if filled not in ([], [field]):
        raise TenfoldError(f"{where}: {describe(tensor)} keeps its values in {field}, the file has them in {', '.join(filled)}")
    needed, found = _entries(tensor.data_type, count), len(getattr(tensor, field))
    if found != needed:
        raise TenfoldError(f"{where}: {describe(tensor)} needs {needed} values, the file has {found}")


def check_sparse(tensor: onnx.SparseTensorProto, where: str) -> None:
    """`check_tensor` for a sparse one: its values, their places, and that these lie within its sizes."""
    check_tensor(tensor.values, f"{where}, values")
    check_tensor(tensor.indices, f"{where}, indices")
    if any(size < 1 for size in tensor.dims) or bytes_of(tensor.values.data_type, count_of(tensor.dims)) > LARGEST_MESSAGE:
        raise TenfoldError(f"{where}: sizes {list(tensor.dims)} are not those of a sparse tensor of up to 2 GiB")
    if TensorProto.EXTERNAL in (tensor.values.data_location, tensor.indices.data_location):
        return
    try:
        onnx.checker.check_sparse_tensor(tensor)
    except onnx.checker.ValidationError as error:
        raise TenfoldError(f"{where}: {str(error).splitlines()[0]}") from None


def describe(tensor: onnx.TensorProto) -> str:
    """``float[64,3,3,3]``."""
    return f"{TensorProto.DataType.Name(tensor.data_type).lower()}[{','.join(map(str, tensor.dims))}]"


def _check_form(tensor: onnx.TensorProto, where: str) -> None:
    if tensor.data_type not in KNOWN:
        raise TenfoldError(f"{where}: element type {tensor.data_type} is none of ONNX")
    if any(size < 0 for size in tensor.dims):
        raise TenfoldError(f"{where}: has a negative size: {describe(tensor)}")
    if tensor.HasField("segment"):
        raise TenfoldError(f"{where}: is one segment of a tensor, a form that no engine reads: store it whole")
    bits = 8 if tensor.data_type == TensorProto.STRING else bits_of(tensor.data_type)
    if count_of(tensor.dims) * bits > 8 * LARGEST_MESSAGE:
        raise TenfoldError(f"{where}: {describe(tensor)} is larger than 2 GiB, the most that a tensor may have")


def _entries(dtype: int, count: int) -> int:
    """How many entries of its typed field a tensor of `count` elements has."""
    if dtype in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        return 2 * count
    return bytes_of(dtype, count) if dtype in PACKED_BITS else count
