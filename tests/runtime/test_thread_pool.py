"""The threads that kernels run on: every task runs once, whoever calls, and from wherever."""
from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import tenfold
from conftest import tiny_network
from tenfold.runtime import thread_pool


class Group(ctypes.Structure):
    """TVM's TVMParallelGroupEnv."""

    _fields_ = [("meeting", ctypes.c_void_p), ("tasks", ctypes.c_int32)]


TASK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(Group), ctypes.c_void_p)


@pytest.fixture
def pool(tiny_artifact):
    tenfold.load(tiny_artifact)
    return thread_pool._pool


def launch(pool, function, threads, tasks=0):
    """Run function(task, tasks, group) for every task; returns the pool's answer."""
    thread_pool.use_threads(threads)

    def task(number, group, _data):
        try:
            return function(number, group.contents.tasks, group) or 0
        except Exception:
            return 1

    return pool.tenfold_parallel_launch(TASK(task), None, tasks)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_every_task_runs_once(pool, threads):
    for _ in range(50):
        seen = []
        assert launch(pool, lambda number, tasks, _, seen=seen: seen.append((number, tasks)), threads) == 0
        assert sorted(seen) == [(number, threads) for number in range(threads)]


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_tasks_that_wait_for_each_other_run_on_threads_of_their_own(pool, threads):
    for _ in range(10):
        seen = []

        def meet(number, tasks, group, seen=seen):
            seen.append(threading.get_native_id())
            pool.tenfold_parallel_barrier(number, group)

        assert launch(pool, meet, threads) == 0
        assert len(set(seen)) == threads


def test_a_task_does_not_wait_for_a_thread_that_comes_late(pool):
    """While one thread is in its task, another does what the rest would have done."""
    first = threading.Event()
    done = []

    def task(number, tasks, _group):
        if number == 1:
            first.wait(10)
        done.append(number)
        if len(done) == tasks - 1:
            first.set()

    assert launch(pool, task, 5) == 0
    assert sorted(done) == [0, 1, 2, 3, 4] and done[-1] == 1


def test_fewer_tasks_than_threads(pool):
    seen = []
    launch(pool, lambda number, tasks, _: seen.append((number, tasks)), 5, tasks=2)
    assert sorted(seen) == [(0, 2), (1, 2)]


def test_threads_that_were_left_out_take_part_again(pool):
    for threads in [7, 2, 2, 5, 1, 7, 3, 7] * 20:
        seen = []
        launch(pool, lambda number, tasks, _, seen=seen: seen.append(number), threads)
        assert sorted(seen) == list(range(threads))


def test_a_failing_task_fails_the_launch(pool):
    for failing in range(3):
        assert launch(pool, lambda number, tasks, _, failing=failing: int(number == failing), 3) != 0
    assert launch(pool, lambda *_: 0, 3) == 0


def test_nobody_passes_a_barrier_before_all_have_come(pool):
    arrived, early = [0] * 20, []

    def meet(number, tasks, group):
        for step in range(20):
            arrived[step] += 1  # under Python's lock
            pool.tenfold_parallel_barrier(number, group)
            if arrived[step] != tasks:
                early.append((step, arrived[step]))

    for _ in range(5):
        arrived[:] = [0] * 20
        assert launch(pool, meet, 4) == 0
    assert not early


def test_a_launch_within_a_launch_runs_on_its_own_thread(pool):
    inner = []

    def nested(number, tasks, _):
        if number == 1:
            launch(pool, lambda n, t, _: inner.append((n, t)), 3)

    assert launch(pool, nested, 3) == 0
    assert inner == [(0, 1)]


def test_sleeping_threads_wake_up(pool):
    import time

    for _ in range(3):
        time.sleep(0.05)
        seen = []
        launch(pool, lambda number, tasks, _, seen=seen: seen.append(number), 4)
        assert sorted(seen) == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def two_networks(tmp_path_factory):
    """A network whose layers are worth several threads, compiled for one and for three."""
    folder = tmp_path_factory.mktemp("parallel")
    rng, nets = np.random.default_rng(0), []
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array((rng.standard_normal((64, 64, 3, 3)) / 24).astype("float32"), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4), helper.make_node("Conv", ["a", "w"], ["y"], pads=[1] * 4)]
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, 20, 20])] for name in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "two", *ports, [weight]), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for threads in (1, 3):
        tenfold.compile(model, "host", folder / str(threads), threads=threads)
        nets.append(tenfold.load(folder / str(threads), threads))
    return nets


@pytest.mark.slow
def test_threads_change_no_result(two_networks):
    x = np.random.default_rng(1).standard_normal((1, 64, 20, 20)).astype("float32")
    alone, together = two_networks
    expected = alone(x)
    for _ in range(20):
        np.testing.assert_allclose(together(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_callers_on_several_threads(two_networks):
    inputs = [np.random.default_rng(i).standard_normal((1, 64, 20, 20)).astype("float32") for i in range(4)]
    expected = [two_networks[0](x) for x in inputs]
    wrong = []

    def call(i):
        for k in range(20):
            result = two_networks[(i + k) % 2](inputs[i])
            if not np.allclose(result, expected[i], rtol=0, atol=1e-5 * np.abs(expected[i]).max()):
                wrong.append(i)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


FORK = """
import os, sys, numpy as np, tenfold
net = tenfold.load(sys.argv[1], 3)
x = np.ones(net.inputs[0].shape, "float32")
expected = net(x)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(net(x), expected) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_starts_threads_of_its_own(two_networks):
    command = [sys.executable, "-c", FORK, str(two_networks[1].folder)]
    subprocess.run(command, check=True, timeout=60, env=dict(os.environ))


def test_the_pool_outlives_the_network_that_brought_it(tmp_path):
    """In a process of its own: the first network is gone, and its file too, when the second one runs."""
    script = """
import gc, shutil, sys, numpy as np, tenfold
first, second = sys.argv[1:]
net = tenfold.load(first)
x = np.ones(net.inputs[0].shape, "float32")
expected = net(x)
del net
gc.collect()
shutil.rmtree(first)
assert np.array_equal(tenfold.load(second)(x), expected)
"""
    for name in ("first", "second"):
        tenfold.compile(tiny_network(), "host", tmp_path / name)
    subprocess.run([sys.executable, "-c", script, *(str(tmp_path / name) for name in ("first", "second"))], check=True, timeout=60)
