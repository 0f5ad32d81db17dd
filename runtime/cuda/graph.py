"""Kernels with their arguments, one by one and as a graph that is launched at once."""
from __future__ import annotations

import ctypes
from collections.abc import Sequence

from ...targets.cuda_functions import Address, KernelNode
from .context import Context, Module, Stream
from .launches import Launch


class BoundLaunch:
    """A launch with the addresses that its kernel takes.

    Parameters
    ----------
    context : Context
    module : Module
    launch : Launch
    operands : sequence of Address
        Of the function: tensors, then buffers. They are read when it is launched, or put into a graph.

    Attributes
    ----------
    pointers : list of Address
        Those of the operands that the kernel takes.
    """

    def __init__(self, context: Context, module: Module, launch: Launch, operands: Sequence[Address]) -> None:
        self._call, self.launch = context.driver.call, launch
        self._function = module.function(launch.kernel, launch.shared_bytes)
        self.pointers = [operands[position] for position in launch.arguments]  # kept: the driver gets their addresses
        self._parameters = (ctypes.c_void_p * len(self.pointers))(*map(ctypes.addressof, self.pointers))

    def into(self, stream: Stream) -> None:
        """Put it into a stream."""
        launch = self.launch
        sizes = (*launch.grid, *launch.block, launch.shared_bytes)
        self._call("cuLaunchKernel", self._function, *sizes, stream.handle, self._parameters, None)

    def node(self) -> KernelNode:
        """What a graph is told of it. The driver copies it, with the addresses as they are now."""
        launch, parameters = self.launch, ctypes.cast(self._parameters, ctypes.POINTER(ctypes.c_void_p))
        return KernelNode(self._function, *launch.grid, *launch.block, launch.shared_bytes, parameters)


class Graph:
    """Kernels that are launched together, each behind the one before.

    Parameters
    ----------
    context : Context
    launches : sequence of BoundLaunch
    """

    def __init__(self, context: Context, launches: Sequence[BoundLaunch]) -> None:
        self._call = context.driver.call
        self._launches = list(launches)
        self._graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()  # the nodes of the graph name those of the executable
        self._call("cuGraphCreate", ctypes.byref(self._graph), 0)
        context.own(self, "cuGraphDestroy", self._graph)
        self._nodes: list[ctypes.c_void_p] = []
        for launch in self._launches:
            before = (ctypes.c_void_p * 1)(self._nodes[-1]) if self._nodes else None
            node, count = ctypes.c_void_p(), len(self._nodes[-1:])
            self._call("cuGraphAddKernelNode_v2", ctypes.byref(node), self._graph, before, count, ctypes.byref(launch.node()))
            self._nodes.append(node)
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), self._graph, 0)
        context.own(self, "cuGraphExecDestroy", self._executable)

    def update(self, position: int) -> None:
        """Take over the addresses that a launch has now. What was launched before runs with the old ones."""
        node = self._launches[position].node()
        self._call("cuGraphExecKernelNodeSetParams_v2", self._executable, self._nodes[position], ctypes.byref(node))

    def launch(self, stream: Stream) -> None:
        """Put the kernels into a stream. They wait for those of an earlier launch, in whichever stream it is."""
        self._call("cuGraphLaunch", self._executable, stream.handle)
