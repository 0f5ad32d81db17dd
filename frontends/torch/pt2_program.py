"""The program in a ``.pt2`` archive, as JSON: whatever torch would run as code is refused, or left away.

Reading the JSON is no safer in torch than reading a pickle: symbolic sizes go through ``sympy.sympify``, which evaluates Python; names
and guards become the source of a function that is then executed; operators are looked up by a path that starts at the module ``torch``;
the description of a nested input may import a module. So every string has to have the form of what its place is for.
"""
from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Names of modules, which torch puts between quotation marks in the code that it makes.
PATH = re.compile(r"[^\"'\\\x00-\x1f\x7f{}]*")
TEXT = re.compile(r"[^\"'\\\x00-\x1f\x7f]*")
SYMBOL = re.compile(r"[a-z]{1,4}\d{1,4}")
OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|prim|torchvision|quantized_decomposed)\.\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_)"
    r"|torch\.sym_(not|int|float|ite|max|min|sqrt)|torch\._sym_sqrt|math\.(trunc|ceil|floor)",
    re.ASCII,
)
# What these do beyond computing: read or write a file, print, wait.
EFFECTS = re.compile(r"torch\.ops\.aten\.(from_file|_print|_debug\w*|_async\w*|record_stream|_record\w*|_cuda\w*)\b")
# The containers of inputs and outputs that are no more than containers.
CONTAINERS = frozenset(
    ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
    + tuple(f"torch.fx.immutable_collections.immutable_{kind}" for kind in ("list", "dict"))
)
FUNCTIONS = frozenset(
    "FloorDiv ModularIndexing Where PythonMod Mod CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural FloatPow FloatTrueDiv"
    " IntTrueDiv TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat Identity Max Min Eq Ne Lt Le Gt Ge And Or Not Abs floor ceiling"
    " Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan Add Mul Pow Integer Rational Symbol".split()
)
POWERS = frozenset(("Pow", "PowByNatural", "FloatPow", "LShift"))
ASSUMPTIONS = frozenset(("integer", "positive", "nonnegative", "negative", "real", "nonzero", "finite", "evaluate"))
SYNTAX = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
          ast.USub, ast.UAdd, ast.Not, ast.Invert, ast.BitAnd, ast.BitOr, ast.And, ast.Or, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt,
          ast.GtE, ast.Load)  # fmt: skip
LONGEST_EXPRESSION = 2000
LARGEST_POWER = 16


class Unsafe(Exception):
    """Something in the program that would run, or could; the message says what."""


def safe_program(data: bytes) -> bytes:
    """The program without what only tells how it was made, once every string in it has the form that its place is for.

    Parameters
    ----------
    data : bytes
        ``models/model.json`` of an archive of torch 2.9 to 2.13 (``torch/_export/serde/schema.py``).

    Returns
    -------
    bytes
        JSON without stack traces, guards and notes.

    Raises
    ------
    Unsafe
        With the place and the reason.
    ValueError
        Not JSON, or not a program.
    """
    program = json.loads(data)
    if not isinstance(program, dict) or not isinstance(program.get("graph_module"), dict):
        raise ValueError("not a program")
    # Guards are source code; the sizes that they check are checked when the network is read.
    program["guards_code"] = []
    program["torch_version"] = ""
    program["graph_module"]["metadata"] = {}
    program["graph_module"]["treespec_namedtuple_fields"] = {}
    _check("", program)
    return json.dumps(program).encode()


def safe_config(data: bytes) -> dict[str, Any]:
    """The table of weights or constants, by name, once every string in it has the form that its place is for."""
    config = json.loads(data)
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise ValueError("not a table of weights")
    for name, entry in config["config"].items():
        _path(name)
        _check("", entry)
    return config["config"]


def _check(key: str, value: Any) -> None:
    if isinstance(value, str):
        rule = STRINGS.get(key)
        if rule is None:
            raise Unsafe(f"it has a text where none belongs ({key!r})")
        rule(value)
    elif isinstance(value, list):
        for entry in value:
            _check(key, entry)
    elif isinstance(value, dict):
        if key == "metadata":
            value = _keep_modules(value)
        for inner, entry in value.items():
            if key in NAMED:
                _name(inner)
                _check("", entry)
            elif inner in ("as_custom_obj", "custom_obj"):
                raise Unsafe("it uses an object of a class of its own, which only a pickle can hold")
            else:
                _check(inner, entry)


def _keep_modules(metadata: dict[str, Any]) -> dict[str, Any]:
    """Keep only the names of a node's modules among the notes on it: layers get their names from these."""
    modules = metadata.get("nn_module_stack")
    metadata.clear()
    if isinstance(modules, str):
        metadata["nn_module_stack"] = modules
    return metadata


def _name(value: str) -> None:
    if not NAME.fullmatch(value):
        raise Unsafe(f"{value[:60]!r} is not a name, and would become part of a program")


def _path(value: str) -> None:
    if not PATH.fullmatch(value):
        raise Unsafe(f"{value[:60]!r} is not the name of a module or a weight, and would become part of a program")


def _text(value: str) -> None:
    if not TEXT.fullmatch(value):
        raise Unsafe(f"the text {value[:60]!r} has quotation marks or control characters, and would become part of a program")


def _operator(value: str) -> None:
    if not OPERATOR.fullmatch(value) or EFFECTS.match(value):
        raise Unsafe(f"it calls {value[:80]!r}, which is not an operator of a network")


def _anything(value: str) -> None:
    """Kept as a note only."""


def _expression(value: str) -> None:
    """A size as a formula of symbols, such as ``2*s0 + 1``: torch evaluates it as Python."""
    try:
        tree = ast.parse(value.strip(), mode="eval") if len(value) <= LONGEST_EXPRESSION else None
        safe = tree is not None and all(_is_arithmetic(node) for node in ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        safe = False
    if not safe:
        raise Unsafe(f"the size {value[:60]!r} is not a formula, and would be evaluated as Python")


def _is_arithmetic(node: ast.AST) -> bool:
    """Whether a node of the syntax tree computes with numbers and symbols only, and with no number beyond the bounds."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _is_small(node.right)
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name == "Symbol":
            return len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and _is_symbol(node.args[0].value)
        return name in FUNCTIONS and (name not in POWERS or (len(node.args) == 2 and _is_small(node.args[1])))
    if isinstance(node, ast.keyword):
        return node.arg in ASSUMPTIONS and isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool)
    if isinstance(node, ast.Name):
        return node.id in FUNCTIONS or node.id in ("oo", "int_oo") or _is_symbol(node.id)
    if isinstance(node, ast.Constant):
        # A text is the name of a symbol: whatever else has one as argument is refused here.
        if isinstance(node.value, bool) or _is_symbol(node.value):
            return True
        return isinstance(node.value, (int, float)) and abs(node.value) < 2**63
    return isinstance(node, (*SYNTAX, ast.Pow))


def _is_symbol(value: object) -> bool:
    return isinstance(value, str) and bool(SYMBOL.fullmatch(value))


def _is_small(node: ast.AST) -> bool:
    """An exponent: a whole number of at most `LARGEST_POWER`, as 2 or as Integer(2)."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Integer" and len(node.args) == 1:
        node = node.args[0]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= LARGEST_POWER


def _tree(value: str) -> None:
    """How inputs or outputs are nested: JSON in a string, of plain containers; names of keyword arguments are names."""
    found = json.loads(value)
    if not isinstance(found, list) or len(found) != 2:
        raise ValueError("not a description of inputs")
    _check_container(found[1])
    if isinstance(found[1], dict) and len(children := found[1]["children_spec"]) == 2 and children[1].get("type") == "builtins.dict":
        for keyword in json.loads(children[1]["context"]):
            _name(keyword)


def _check_container(spec: Any) -> None:
    if not isinstance(spec, dict) or not isinstance(spec.get("children_spec"), list):
        raise ValueError("not a description of inputs")
    kind, context = spec.get("type"), spec.get("context")
    if kind is not None and kind not in CONTAINERS:
        raise Unsafe(f"its inputs or outputs are in a {str(kind)[:60]}, whose code would run")
    keys = json.loads(context) if context is not None else None
    if keys is not None and not (isinstance(keys, list) and all(isinstance(key, (str, int)) for key in keys)):
        raise Unsafe("keys of its inputs or outputs are not texts or numbers, and would be imported")
    for key in keys or ():
        _path(str(key))
    for child in spec["children_spec"]:
        _check_container(child)


# What a string has to be, by the key that it stands under. Other keys hold no strings.
STRINGS: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(("name", "as_name", "forward_arg_names", "verifiers", "type", "path_name"), _name),
    **dict.fromkeys(("parameter_name", "buffer_name", "tensor_constant_name", "user_input_name", "fqn"), _path),
    **dict.fromkeys(("as_string", "as_strings"), _text),
    **dict.fromkeys(("target", "as_operator"), _operator),
    **dict.fromkeys(("in_spec", "out_spec"), _tree),
    **dict.fromkeys(("torch_version", "nn_module_stack"), _anything),
    "expr_str": _expression,
}
# Tables whose keys are names of values.
NAMED = frozenset(
    ("tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values", "custom_obj_values", "range_constraints", "opset_version",
     "as_string_to_argument")
)  # fmt: skip
