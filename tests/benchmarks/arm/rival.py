"""Runs a rival's network under emulation, between the marks that `runner/devices/counting.c` counts by.

    python3.11 rival.py onnxruntime|ncnn MODEL INPUT.npy OUTPUT.npy        # an AArch64 Python, needs nothing of Tenfold

One thread. One run is not counted at all, one fills the caches, one counts.
"""
import ctypes
import os
import sys

import numpy as np

MARK, END, WARM, COUNT = 0x54464E44, 0, 1, 2


def mark(what: int) -> None:
    ctypes.CDLL(None).prctl(ctypes.c_long(MARK), ctypes.c_long(what), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))


def onnxruntime(model: str, x: np.ndarray):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feeds)[0]


def ncnn(model: str, x: np.ndarray):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = 1, False
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)  # float32, as everybody here
    if net.load_param(model + ".ncnn.param") or net.load_model(model + ".ncnn.bin"):
        raise SystemExit("ncnn can't load it")
    image = ncnn.Mat(x[0]).clone()

    def run():
        extractor = net.create_extractor()
        extractor.input("in0", image)
        return np.array(extractor.extract("out0")[1])

    return run


if __name__ == "__main__":
    engine, model, given, result = sys.argv[1:]
    run = {"onnxruntime": onnxruntime, "ncnn": ncnn}[engine](model, np.load(given))
    run()
    for what in (WARM, COUNT):
        mark(what)
        y = run()
    mark(END)
    np.save(result, y)
    os._exit(0)  # what ends at the end of Python is of no interest
