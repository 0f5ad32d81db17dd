"""A process that forks while its threads run networks: its children run them too, and get what the parent gets.

Every case is a process of its own, in which children that do not answer in time are killed by their own alarm.
"""
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tenfold
from onnx import TensorProto, helper, numpy_helper

PROLOGUE = """
import multiprocessing, os, signal, subprocess, sys, threading, time
import numpy as np
import tenfold
from tenfold.runtime import thread_pool

net = tenfold.load(sys.argv[1], int(sys.argv[2]))
shape = net.inputs[0].shape
theirs, ours = (np.random.default_rng(seed).standard_normal(shape).astype("float32") for seed in range(2))
expected = net.run(ours)

def right():
    return all(np.array_equal(value, expected[name]) for _ in range(3) for name, value in net.run(ours).items())

def in_child(work):
    # Exit code of a child that does some work, and says whether it was right.
    child = os.fork()
    if child == 0:
        signal.alarm(120)  # this long only on a machine that is very busy with other things
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

class Callers:
    # Threads that call the network all the time, while the block runs.
    def __init__(self, count):
        self.threads = [threading.Thread(target=self.call) for _ in range(count)]
        self.go, self.calls = True, 0
    def call(self):
        while self.go:
            net.run(theirs)
            self.calls += 1
    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self
    def __exit__(self, *_):
        self.go = False
        for thread in self.threads:
            thread.join()
"""
WHILE_CALLING = """
with Callers(2) as callers:
    before = callers.calls
    codes = []
    for number in range(50):
        time.sleep(number % 7 / 5000)
        codes.append(in_child(right))
    assert codes == [0] * 50, codes
    while callers.calls == before:
        time.sleep(0.01)
assert right()
"""
WHILE_HELD = """
# Another thread is in a call that does not end.
release = threading.Event()
held = threading.Event()
def hold():
    with net._machine._lock:
        held.set()
        release.wait(30)
thread = threading.Thread(target=hold)
thread.start()
held.wait(30)
assert in_child(right) == 0
release.set()
thread.join()
assert right()
"""
WHILE_LOADING = """
stop = threading.Event()
def load():
    while not stop.is_set():
        tenfold.load(sys.argv[1], 2)
thread = threading.Thread(target=load)
thread.start()
codes = [in_child(lambda: right() and tenfold.load(sys.argv[1], 2) is not None) for _ in range(20)]
stop.set()
thread.join()
assert codes == [0] * 20, codes
"""
NESTED = """
def generations(left):
    if not left:
        return right()
    with Callers(1):
        code = in_child(lambda: generations(left - 1))
    return right() and code == 0
with Callers(1):
    codes = [in_child(lambda: generations(3)) for _ in range(5)]
assert codes == [0] * 5, codes
"""
WORKERS = """
def work(seed):
    assert right()
    return net.run(np.random.default_rng(seed).standard_normal(shape).astype("float32"))
expected_of = [work(seed) for seed in range(8)]
with Callers(1), multiprocessing.get_context("fork").Pool(3) as pool:
    results = pool.map_async(work, list(range(8)) * 3).get(60)
for result, reference in zip(results, expected_of * 3, strict=True):
    for name in reference:
        np.testing.assert_array_equal(result[name], reference[name])
"""
PROGRAMS = """
done = []
def start():
    for _ in range(5):
        done.append(subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, timeout=30).stdout)
        done.append(subprocess.run(["echo", "1"], capture_output=True, timeout=30, preexec_fn=lambda: None).stdout)
with Callers(1):
    thread = threading.Thread(target=start)
    thread.start()
    while thread.is_alive():
        assert right()
assert done == [b"1\\n"] * 10, done
"""
AT_A_BARRIER = """
# Two of three tasks have come to a barrier when the process forks: the child's barriers wait for three of its own.
import ctypes
class Group(ctypes.Structure):
    _fields_ = [("meeting", ctypes.c_void_p), ("tasks", ctypes.c_int32)]
TASK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(Group), ctypes.c_void_p)
pool = thread_pool._pool
release = threading.Event()
def meet(number, group, _data):
    if number == 0:
        release.wait(30)
    pool.tenfold_parallel_barrier(number, group)
    return 0
def launch(task):
    thread_pool.use_threads(3)
    return pool.tenfold_parallel_launch(task, None, 0)
kept = TASK(meet)
thread = threading.Thread(target=launch, args=(kept,))
thread.start()
time.sleep(0.2)
def in_order():
    come, early = [], []
    def task(number, group, _data):
        time.sleep(0.05 * number)
        come.append(number)
        pool.tenfold_parallel_barrier(number, group)
        if len(come) < 3:
            early.append(number)
        return 0
    return launch(TASK(task)) == 0 and sorted(come) == [0, 1, 2] and not early and right()
assert in_child(in_order) == 0
release.set()
thread.join()
assert in_order()
"""
PEAK = """
from tenfold.runner.bench.peak import measure_peak
from tenfold.targets import resolve
def measured():
    return measure_peak(resolve("host"), 2, 0.01) > 0
assert measured() and in_child(measured) == 0 and measured()
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Two convolutions, worth several threads: as a straight line of kernels, and with an output for which TVM's virtual machine runs."""
    folder = tmp_path_factory.mktemp("forks")
    weight = (np.random.default_rng(0).standard_normal((64, 64, 3, 3)) / 24).astype("float32")
    for name, outputs in (("straight", "y"), ("interpreted", "yz")):
        nodes = [helper.make_node("Conv", [a, "w"], [b], pads=[1] * 4) for a, b in ("xa", "ay")]
        nodes += [helper.make_node("Identity", ["x"], ["z"])] * (len(outputs) - 1)
        ports = [[helper.make_tensor_value_info(port, TensorProto.FLOAT, [1, 64, 20, 20]) for port in each] for each in ("x", outputs)]
        graph = helper.make_graph(nodes, name, *ports, [numpy_helper.from_array(weight, "w")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        artifact = tenfold.compile(model, "host", folder / name, threads=3)
        assert artifact._machine._is_straight == (name == "straight")
    return folder


def passes(script, folder, threads=3):
    command = [sys.executable, "-c", PROLOGUE + script, str(folder), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["straight", "interpreted"])
def test_while_other_threads_call(networks, kind, threads):
    passes(WHILE_CALLING, networks / kind, threads)


def test_while_a_call_does_not_end(networks):
    passes(WHILE_HELD, networks / "straight")


def test_while_another_thread_loads(networks):
    passes(WHILE_LOADING, networks / "straight")


@pytest.mark.parametrize("kind", ["straight", "interpreted"])
def test_children_that_fork(networks, kind):
    passes(NESTED, networks / kind)


@pytest.mark.parametrize("kind", ["straight", "interpreted"])
def test_workers_of_multiprocessing(networks, kind):
    passes(WORKERS, networks / kind)


def test_programs_that_a_thread_starts(networks):
    passes(PROGRAMS, networks / "straight")


def test_while_tasks_wait_at_a_barrier(networks):
    passes(AT_A_BARRIER, networks / "straight")


def test_kernels_on_the_pool_of_tvm(networks):
    passes(PEAK, networks / "straight")
