"""Every number of an artifact that addresses memory, checked before anything is laid out by it.

`weights.map_weights` sees to what a file of weights says of itself: each tensor is of a known type and lies within the file, or has a place
in the arena. Here the file is held against what surrounds it: the network's inputs and outputs, the pieces of its batch, the memory of the
machine; and each operand of a kernel is one of the tensors, in a shape of as many elements.

What trust remains. A kernel reads and writes its arguments in the shapes that it was compiled for. TVM's kernels compare these with what
they are given, but a library is code, and can do anything. That it is the one which was compiled is known by its SHA-256, which whoever
changes the library can change too. Places in the arena may overlap, as tensors that are never alive together do: a file whose places are
wrong gives wrong numbers, within its own memory. So an artifact is to be trusted as a program is.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod

from .memory_plan import Operand, arena_bytes, tensor_bytes
from .weights import Contents

Tensor = tuple[tuple[int, ...], str]  # shape, dtype


def check_contents(contents: Contents, inputs: Sequence[Tensor], outputs: Sequence[Tensor] | None = None) -> None:
    """Hold a file of weights against the network that it is for.

    Parameters
    ----------
    contents : Contents
    inputs, outputs : sequence of (shape, dtype)
        Of the network; outputs None: not known.

    Raises
    ------
    ValueError
        What does not fit, in a few words.
    """
    _check_ports(contents, inputs, outputs)
    _check_operands(contents, inputs)
    _check_memory(contents)


def _check_ports(contents: Contents, inputs: Sequence[Tensor], outputs: Sequence[Tensor] | None) -> None:
    pieces, positions = contents.pieces, [each.position for each in contents.destinations]
    if len(set(positions)) != len(positions):
        raise ValueError("two tensors are the same output")
    if contents.steps and positions != list(range(len(positions) if outputs is None else len(outputs))):
        raise ValueError(f"its outputs are {positions}, not those of the network in their order")
    if pieces > 1 and not contents.steps:
        raise ValueError("it has no steps to run for the pieces of a batch")
    for shape, _ in inputs if pieces > 1 else ():
        if not shape or shape[0] % pieces:
            raise ValueError(f"a batch of shape {list(shape)} does not fall into {pieces} pieces")
    for each in contents.destinations:
        if pieces > 1 and not each.shape:
            raise ValueError("an output that is a single number does not fall into pieces")
        if outputs is None:
            continue
        whole = (pieces * each.shape[0], *each.shape[1:]) if pieces > 1 else each.shape
        if each.position >= len(outputs) or (whole, each.dtype) != outputs[each.position]:
            raise ValueError(f"output {each.position} is {each.dtype}{list(whole)} there, which is no output of the network")


def _check_operands(contents: Contents, inputs: Sequence[Tensor]) -> None:
    """Those that are inputs: the others are known to the file itself."""
    sizes = [prod(shape) for shape, _ in inputs]
    for step in contents.steps:
        for operand in step.operands:
            if operand.position < len(sizes):
                if prod(operand.shape) * contents.pieces != sizes[operand.position]:
                    raise ValueError(f"kernel {step.kernel!r} reads an input in shape {list(operand.shape)}")
            elif prod(operand.shape) != _elements(contents, operand, len(sizes)):
                raise ValueError(f"kernel {step.kernel!r} takes tensor {operand.position} in shape {list(operand.shape)}")


def _elements(contents: Contents, operand: Operand, inputs: int) -> int | None:
    position = operand.position - inputs
    for tensors in (contents.destinations, contents.weights, contents.places):
        if position < len(tensors):
            return prod(tensors[position].shape)
        position -= len(tensors)
    raise ValueError(f"there is no tensor {operand.position}")


def _check_memory(contents: Contents) -> None:
    needed = arena_bytes(contents.places) + sum(contents.pieces * tensor_bytes(each.dtype, each.shape) for each in contents.destinations)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(f"the network needs {needed / 1e9:.1f} GB of memory while it runs, this machine has {there / 1e9:.1f} GB")
