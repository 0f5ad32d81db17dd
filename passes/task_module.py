"""A task as a network by itself, to compile and time. Weights are random: time does not depend on them.

    main(x, r) = relu(conv2d(x) + b + r)                a residual is a second input
"""
from __future__ import annotations

import numpy as np
import tvm
from tvm import ir, relax

from ..schedules.operators import HARD_SWISH
from ..schedules.shapes import ConvGeometry, ConvWorkload, DenseWorkload
from ..schedules.task import RESIDUAL, Task, TaskLayer
from .layer_module import NCHW, NHWC, WEIGHT_SCALE


def task_module(task: Task) -> tvm.IRModule:
    """Make a network whose kernels have the workloads of a task.

    Images come and go as the task says: channels-last, or (N, C, H, W).
    """
    return _Builder(task).module()


class _Builder:
    """Writes one network."""

    def __init__(self, task: Task) -> None:
        self.task, self.builder, self.rng = task, relax.BlockBuilder(), np.random.default_rng(0)
        self.image = isinstance(task.layers[0].workload, ConvWorkload)

    def module(self) -> tvm.IRModule:
        task = self.task
        inputs = [relax.Var("x", relax.TensorType(self._input_shape(), "float32"))]
        if RESIDUAL in task.layers[-1].steps:
            inputs.append(relax.Var("residual", relax.TensorType(self._output_shape(), "float32")))
        with self.builder.function("main", inputs):
            with self.builder.dataflow():
                value = inputs[0]
                if self.image and not task.source_nchw:
                    value = self._emit(relax.op.permute_dims(value, NCHW))
                for layer in task.layers:
                    value = self._layer(layer, value)
                    for step in layer.steps:
                        value = self._step(step, value, inputs)
                if self.image and not task.result_nchw:
                    value = self._emit(relax.op.permute_dims(value, NHWC))
                result = self.builder.emit_output(value)
            self.builder.emit_func_output(result)
        return self.builder.get()

    def _layer(self, layer: TaskLayer, value: relax.Expr) -> relax.Expr:
        workload = layer.workload
        if isinstance(workload, DenseWorkload):
            return self._emit(relax.op.matmul(value, self._random(workload.channels, workload.filters)))
        if workload.gathered:
            value = self._emit(relax.op.take(value, relax.const(_mixed(workload.channels)), axis=1, mode="clip"))
        geometry = workload.geometry
        if workload.averages:
            return self._emit(relax.op.mean(value, [2, 3], keepdims=True))
        if workload.pools:
            return self._emit(relax.op.nn.max_pool2d(value, geometry.kernel, geometry.stride, geometry.padding, geometry.dilation))
        if geometry.upsample != (1, 1):
            return self._emit(self._transposed(geometry, workload.channels, value))
        weight = self._random(geometry.filters, workload.channels // geometry.groups, *geometry.kernel)
        return self._emit(relax.op.nn.conv2d(
            value, weight, geometry.stride, geometry.padding, geometry.dilation, geometry.groups))

    def _transposed(self, geometry: ConvGeometry, channels: int, value: relax.Expr) -> relax.Expr:
        """The transposed convolution that `legalize` takes for one with zeros between its pixels."""
        reach = [(size - 1) * step for size, step in zip(geometry.kernel, geometry.dilation, strict=True)]
        top, left, bottom, right = geometry.padding
        before = [reach[0] - top, reach[1] - left]
        # More below and on the right than above and on the left is padding of the output, as far as that may be.
        extra = [max(0, bottom - top), max(0, right - left)]
        behind = [reach[0] - (bottom - extra[0]), reach[1] - (right - extra[1])]
        weight = self._random(channels, geometry.filters // geometry.groups, *geometry.kernel)
        return relax.op.nn.conv2d_transpose(
            value, weight, geometry.upsample, [*before, *behind], extra, geometry.dilation, geometry.groups)

    def _step(self, step: str, value: relax.Expr, inputs: list[relax.Var]) -> relax.Expr:
        name, *bounds = step.split()
        if name == RESIDUAL:
            other = inputs[1]
            if self.image and not self.task.result_nchw:
                other = self._emit(relax.op.permute_dims(other, NCHW))
            return self._emit(relax.op.add(value, other))
        if name == HARD_SWISH:
            share = self._emit(relax.op.clip(self._emit(relax.op.add(value, relax.const(3.0))), 0.0, 6.0))
            return self._emit(relax.op.multiply(value, self._emit(relax.op.divide(share, relax.const(6.0)))))
        if name == "relax.clip":
            return self._emit(relax.op.clip(value, *map(float, bounds)))
        if name in ("relax.add", "relax.multiply"):
            filters = int(value.ty.shape[1])
            operand = self._random(1, filters, 1, 1) if self.image else self._random(filters)
            return self._emit(ir.Call(ir.Op.get(name), [value, operand]))
        return self._emit(ir.Call(ir.Op.get(name), [value]))

    def _emit(self, expr: relax.Expr) -> relax.Expr:
        return self.builder.emit(expr)

    def _random(self, *shape: int) -> relax.Expr:
        return relax.const(WEIGHT_SCALE * self.rng.standard_normal(shape, "float32"))

    def _input_shape(self) -> tuple[int, ...]:
        first = self.task.layers[0].workload
        if isinstance(first, DenseWorkload):
            return first.rows, first.channels
        return self._laid(first.batch, first.channels, first.size, self.task.source_nchw)

    def _output_shape(self) -> tuple[int, ...]:
        last = self.task.layers[-1].workload
        if isinstance(last, DenseWorkload):
            return last.rows, last.filters
        return self._laid(last.batch, last.geometry.filters, last.output, self.task.result_nchw)

    @staticmethod
    def _laid(batch: int, channels: int, size: tuple[int, int], nchw: bool) -> tuple[int, ...]:
        return (batch, channels, *size) if nchw else (batch, *size, channels)


def _mixed(count: int) -> np.ndarray:
    """An order of channels that is not theirs."""
    return np.roll(np.arange(count, dtype="int64"), 1)
