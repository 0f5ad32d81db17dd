"""Artifacts take tensors of torch."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tenfold
from tenfold.runtime.tensors import as_array, as_tensor
from tenfold.support.errors import TenfoldError

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def net(tiny_artifact):
    return tenfold.load(tiny_artifact)


def test_tensors_in_tensors_out(net, image):
    expected = net(image)
    for given in (torch.from_numpy(image), torch.nn.Parameter(torch.from_numpy(image)), {"image": torch.from_numpy(image)}):
        for result in (net(given), net.run(given)["scores"]):
            assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
            np.testing.assert_array_equal(result.numpy(), expected)
    assert isinstance(net({"image": image}), np.ndarray)


def test_memory_in_another_order_is_read_right(net, image):
    x = torch.from_numpy(image)
    for given in (x.to(memory_format=torch.channels_last), torch.cat([x, x], dim=3)[..., :8], -(-x).clone(), torch._neg_view(-x)):
        np.testing.assert_array_equal(net(given).numpy(), net(image))


def test_nothing_is_copied():
    x = torch.zeros(3)
    array = as_array(x)
    array[0] = 1
    assert x[0] == 1
    as_tensor(array)[1] = 2
    assert x[1] == 2


@pytest.mark.parametrize(("change", "words"), [
    (lambda x: x.to(torch.bfloat16), ["bfloat16", "'image'", ".to"]),
    (lambda x: x.double(), ["float64", "float32"]),
    (lambda x: x[0], ["[3, 8, 8]"]),
    (lambda x: x.to("meta"), ["meta", ".cpu()"]),
    (lambda x: x.to_sparse(), ["sparse", ".to_dense()"]),
    (lambda x: x * torch.nan, ["NaN"]),
    (lambda x: x.tolist(), ["'image'", "list", "np.asarray(x, 'float32')"]),
    (lambda x: 3.0, ["float", "np.asarray"]),
    (lambda x: None, ["NoneType"]),
    (lambda x: "x.npy", ["str"]),
    (lambda x: {"image": x.tolist()}, ["'image'", "list"]),
])
def test_what_cannot_be_taken_is_refused_with_what_to_do(net, image, change, words):
    with pytest.raises(TenfoldError) as caught:
        net(change(torch.from_numpy(image)))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_an_artifact_does_not_import_torch(tiny_artifact):
    code = f"import sys, numpy as np, tenfold; net = tenfold.load({str(tiny_artifact)!r}); net(np.ones((1, 3, 8, 8), 'float32'))\n"
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
