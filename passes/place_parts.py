"""Parts of a concatenated image lie in it from the start: their kernels write there, and what else reads them reads from there.

    a = conv(x);  b = conv(a);  y = concat(a, b)

    y0 = conv(x) into channels 0 to A of a new image
    y1 = conv(channels 0 to A of y0) into channels A to A + B of y0, in place
    y = y1

The parts that an image is split into are read where they lie, too. A kernel gets the whole image as its parameter, and begins at another channel of it.
"""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import ir, relax, tirx
from tvm.s_tir.stmt import SBlock

from ..schedules.tir.loop_nests import changed, has_nests, nests_of
from ..schedules.tir.module_pass import ModulePass
from .channels_last_rules import ints
from .mark_concat import PLACED, SPLITS

FEWEST_CHANNELS = 32  # of a part that an element-wise kernel makes: along fewer, without the neighbouring pixels, it has no whole vectors


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: from which channel on in the image that a variable holds."""

    root: relax.Var
    begin: int


@tvm.transform.module_pass(opt_level=0, name="PlaceParts")
class PlaceParts(ModulePass):
    """Rewrite `main` and the kernels that it calls, which are not scheduled yet."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Leave out concatenations whose operands can be placed; the others stay."""
        main = mod["main"]
        if len(main.body.blocks) != 1 or not isinstance(main.body.blocks[0], relax.DataflowBlock):
            return mod
        plan = _Plan(mod)
        return _Emitter(mod, plan).module() if plan.places else mod


class _Plan:
    """Which tensors are placed, and where."""

    def __init__(self, mod: tvm.IRModule):
        self.mod, self.places = mod, dict[relax.Var, _Place]()
        self.left_out: set[relax.Var] = set()  # the concatenations and splits, and the parts of these
        self.kernels: dict[relax.Var, list[tirx.PrimFunc]] = defaultdict(list)  # that read a tensor
        bindings = list(mod["main"].body.blocks[0].bindings)
        self.made = {binding.var: binding.value for binding in bindings}
        self.readers: dict[relax.Var, int] = defaultdict(int)   # kernels that read a tensor, and
        self.uses: dict[relax.Var, int] = defaultdict(int)      # all that do
        for binding in bindings:
            for var in _tensors(binding.value):
                self.readers[var] += 1
                self.kernels[var].append(mod[binding.value.args[0]])
            relax.analysis.post_order_visit(binding.value, self._count)
        relax.analysis.post_order_visit(mod["main"].body.body, self._count)
        for binding in reversed(bindings):  # a concatenation that is a part of another one comes behind that
            if _calls_kernel(binding.value) and PLACED in (mod[binding.value.args[0]].attrs or {}):
                self._place(binding.var, binding.value)
        for binding in bindings:
            if _calls_kernel(binding.value) and SPLITS in (mod[binding.value.args[0]].attrs or {}):
                self._read_in_place(binding.var, binding.value.args[1].fields[0])

    def _read_in_place(self, split: relax.Var, image: relax.Expr) -> None:
        """Let readers of the parts of an image read the image."""
        parts = {var: value.index for var, value in self.made.items() if isinstance(value, ir.TupleGetItem) and value.tuple_value == split}
        if not isinstance(image, relax.Var) or len(parts) != self.uses[split] or not all(map(self._reads_well, parts)):
            return
        channels = [ints(part.shape)[3] for part in split.ty.fields]
        whole = self.places.get(image, _Place(image, 0))
        for var, index in parts.items():
            self.places[var] = _Place(whole.root, whole.begin + sum(channels[:index]))
        self.left_out.update([split, *parts])

    def _reads_well(self, part: relax.Var) -> bool:
        """Whether only kernels read a part, and none of them slower for it."""
        kernels = self.kernels[part]
        wide = ints(part.ty.shape)[3] >= FEWEST_CHANNELS
        return self.uses[part] == len(kernels) and all(has_nests(kernel) and (wide or _adds_up(kernel)) for kernel in kernels)

    def _count(self, expr: relax.Expr) -> None:
        if isinstance(expr, relax.Var):
            self.uses[expr] += 1

    def _place(self, var: relax.Var, call: ir.Call) -> None:
        operands = list(call.args[1].fields)
        if not all(isinstance(operand, relax.Var) and self._can_be_placed(operand) for operand in operands):
            return
        whole = self.places.get(var, _Place(var, 0))
        begin = whole.begin
        for operand in operands:
            self.places[operand] = _Place(whole.root, begin)
            begin += ints(operand.ty.shape)[3]
        self.left_out.add(var)

    def _can_be_placed(self, var: relax.Var) -> bool:
        """Whether one kernel makes a tensor, only kernels read it, and none of this is of another image already."""
        call = self.made.get(var)
        if call is None or not _calls_kernel(call) or not isinstance(call.ty, relax.TensorType) or var in self.places:
            return False
        kernel = self.mod[call.args[0]]
        if self.uses[var] != self.readers[var] or not has_nests(kernel):
            return False
        return PLACED in (kernel.attrs or {}) or ints(var.ty.shape)[3] >= FEWEST_CHANNELS or _adds_up(kernel)


class _Emitter:
    """Writes `main` with the tensors in their places."""

    def __init__(self, mod: tvm.IRModule, plan: _Plan):
        self.builder, self.mod, self.plan = relax.BlockBuilder(mod), mod, plan
        self.images: dict[relax.Var, relax.Var] = {}  # by the variable of the concatenation, what holds the image so far
        self.kernels: dict[tuple[str, tuple[tuple[int, int, int], ...]], ir.GlobalVar] = {}

    def module(self) -> tvm.IRModule:
        """Rewrite everything."""
        main = self.mod["main"]
        block = main.body.blocks[0]
        bindings = [new for binding in block.bindings if (new := self._binding(binding)) is not None]
        body = relax.SeqExpr([relax.DataflowBlock(bindings)], main.body.body)
        function = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
        mod = self.builder.get()
        mod.update_func(mod.get_global_var("main"), function)
        return relax.transform.DeadCodeElimination()(mod)

    def _binding(self, binding: relax.Binding) -> relax.Binding | None:
        var, places = binding.var, self.plan.places
        if var in self.plan.left_out:
            if var not in self.images or var in places:
                return None
            return relax.VarBinding(var, self.images[var])
        if not _calls_kernel(binding.value):
            return binding
        call = binding.value
        args = list(call.args[1].fields)
        moved = {i: places[arg] for i, arg in enumerate(args) if isinstance(arg, relax.Var) and arg in places}
        new = [self.images.get(moved[i].root, moved[i].root) if i in moved else arg for i, arg in enumerate(args)]
        if var not in places:
            if not moved:
                return binding
            gvar = self._kernel(call.args[0], moved)
            return relax.VarBinding(var, self._call(gvar, new, call.ty_args, None))
        place = places[var]
        gvar = self._kernel(call.args[0], {**moved, len(args): place})
        before = self.images.get(place.root)
        made = self._call(gvar, new, [place.root.ty], before)
        image = relax.DataflowVar(var.name, place.root.ty)
        self.images[place.root] = image
        return relax.VarBinding(image, made)

    def _call(self, gvar: ir.GlobalVar, args: list[relax.Expr], types: list[ir.Type], image: relax.Var | None) -> ir.Call:
        types = list(types)
        if image is None:
            return self.builder.normalize(relax.call_tir(gvar, relax.Tuple(args), types))
        return self.builder.normalize(relax.op.call_tir_inplace(gvar, relax.Tuple([*args, image]), [len(args)], types))

    def _kernel(self, gvar: ir.GlobalVar, places: dict[int, _Place]) -> ir.GlobalVar:
        """The kernel whose parameters of these numbers are whole images."""
        wholes = {i: (ints(place.root.ty.shape)[3], place.begin) for i, place in places.items()}
        key = gvar.name_hint, tuple((i, *where) for i, where in sorted(wholes.items()))
        if key not in self.kernels:
            self.kernels[key] = self.builder.add_func(in_places(self.mod[gvar], wholes), gvar.name_hint)
        return self.kernels[key]


def in_places(func: tirx.PrimFunc, wholes: dict[int, tuple[int, int]]) -> tirx.PrimFunc:
    """Let parameters of a kernel be images of more channels.

    Parameters
    ----------
    func : PrimFunc
        Not scheduled.
    wholes : dict
        By the number of a parameter, (N, H, W, C): the channels of the whole image, and the first that the kernel takes for its own.
    """
    params = list(func.params)
    images: list[tuple[tirx.Buffer, tirx.Buffer, int]] = []
    for i, (channels, begin) in wholes.items():
        old = params[i]
        shape = [*list(old.shape)[:-1], tirx.const(channels, str(old.shape[-1].ty.dtype))]
        params[i] = tirx.decl_buffer(shape, old.dtype, old.name)
        images.append((old, params[i], begin))

    def moved(source: tirx.Buffer) -> tuple[tirx.Buffer, int] | None:
        return next(((new, begin) for old, new, begin in images if source.same_as(old)), None)

    def load(ld: ir.TensorLoad) -> ir.TensorLoad:
        found = moved(ld.source)
        return ld if found is None else tirx.BufferLoad(found[0], [*list(ld.indices)[:-1], ld.indices[-1] + found[1]])

    def store(st: tirx.BufferStore) -> tirx.BufferStore:
        found = moved(st.buffer)
        return st if found is None else tirx.BufferStore(found[0], st.value, [*list(st.indices)[:-1], st.indices[-1] + found[1]])

    def region(part: tirx.BufferRegion) -> tirx.BufferRegion:
        found = moved(part.source)
        if found is None:
            return part
        *before, last = part.region
        return tirx.BufferRegion(found[0], [*before, ir.Range.from_min_extent(last.min + found[1], last.extent)])

    def block(old: SBlock) -> SBlock:
        return changed(old, reads=[region(r) for r in old.reads], writes=[region(w) for w in old.writes])

    body = tvm_ffi.structural_map(func.body, [(ir.TensorLoad, load), (tirx.BufferStore, store), (SBlock, block)], order="post")
    return tirx.PrimFunc(params, body, func.ret_type, func.attrs)


def _calls_kernel(expr: relax.Expr) -> bool:
    return isinstance(expr, ir.Call) and isinstance(expr.op, ir.Op) and expr.op.name == "relax.call_tir" \
        and isinstance(expr.args[1], relax.Tuple)


def _tensors(expr: relax.Expr) -> list[relax.Var]:
    """The variables that a call of a kernel reads, by position."""
    return [arg for arg in expr.args[1].fields if isinstance(arg, relax.Var)] if _calls_kernel(expr) else []


def _adds_up(kernel: tirx.PrimFunc) -> bool:
    """Whether a kernel has a reduction."""
    found: list[bool] = []

    def look(block: SBlock) -> None:
        found.append(any(axis.iter_type == tirx.IterVar.CommReduce for axis in block.iter_vars))

    for nest in nests_of(kernel):
        tvm_ffi.structural_walk(nest, (SBlock, look))
    return any(found)
