"""torch models: one route through ONNX, layers named after their modules, torch itself as the reference."""
import hashlib
import sys

import numpy as np
import onnx
import pytest
from frontend_checks import assert_imported_right, example, operators

torch = pytest.importorskip("torch")

from tenfold.frontends import load  # noqa: E402
from tenfold.passes.inventory import inventory  # noqa: E402
from tenfold.support.errors import TenfoldError, TenfoldWarning  # noqa: E402
from torch import nn  # noqa: E402


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.pool, self.down, self.up = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(self.pool(x)))))


class Net(nn.Module):
    """Parts of a MobileNetV3 and of a U-Net: depthwise, squeeze-and-excite, hard swish, up-convolution, skip connection."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(), SqueezeExcite(8), nn.Dropout(0.5))
        self.down, self.up, self.norm = nn.MaxPool2d(2), nn.ConvTranspose2d(8, 4, 2, 2), nn.BatchNorm2d(4)
        self.rows, self.head = nn.Linear(8, 5), nn.Linear(12, 3)

    def forward(self, image):
        x = self.stem(image)
        low = self.block(self.down(x))
        high = torch.cat([self.norm(self.up(low)), x], 1)
        high = nn.functional.interpolate(high, scale_factor=2, mode="bilinear")
        return self.rows(high[:, :, ::4, ::2]), self.head(high.mean((2, 3)))


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    net = Net()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return net


@pytest.fixture(scope="module")
def net(module):
    module.train()
    return load(module, example_inputs=torch.randn(2, 3, 16, 16))


@pytest.fixture(scope="module")
def program(module):
    batch = torch.export.Dim("batch", min=1, max=8)
    return torch.export.export(module.eval(), (torch.randn(2, 3, 16, 16),), dynamic_shapes={"image": {0: batch}})


def refused(pattern, *args, **options):
    with pytest.raises(TenfoldError, match=pattern) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)


def test_a_module_computes_in_relax_what_it_does_in_torch(net):
    assert net.reference_name == "torch"
    assert "relax.nn.batch_norm" not in operators(net) and "relax.image.resize2d" in operators(net)
    assert_imported_right(net)


def test_layers_have_the_names_of_their_modules(net, module):
    names = [layer.name for layer in inventory(net.mod)]
    assert sorted(names) == ["block.0", "block.2.down", "block.2.up", "head", "rows", "stem.0", "up"]
    weights = {layer.name: layer.weight_shape for layer in inventory(net.mod)}
    assert weights["rows"] == tuple(module.rows.weight.shape) and weights["stem.0"] == tuple(module.stem[0].weight.shape)


def test_a_module_keeps_its_mode(module, net):
    module.train()
    net.reference(example(net))
    assert module.training and module.norm.training


def test_the_hash_is_that_of_the_weights():
    module = nn.Sequential(nn.Conv2d(3, 4, 1))
    first = load(module, example_inputs=torch.randn(1, 3, 4, 4)).sha256
    assert load(module, example_inputs=torch.randn(1, 3, 4, 4)).sha256 == first
    with torch.no_grad():
        module[0].bias += 1
    assert load(module, example_inputs=torch.randn(1, 3, 4, 4)).sha256 != first


def test_a_program_and_its_file(program, tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    with pytest.warns(TenfoldWarning, match="ExportedProgram: the first size of input 'image' is dynamic: taken as 1"):
        assert load(program).inputs[0].shape == (1, 3, 16, 16)
    net = load(str(path), batch=3)
    assert net.inputs[0].shape == (3, 3, 16, 16) and net.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    x = example(net)
    want = program.module()(torch.from_numpy(x["image"]))
    for a, b in zip(net.reference(x), want, strict=True):
        np.testing.assert_array_equal(a, b.detach().numpy())
    onnx.checker.check_model(net.onnx, full_check=True)
    assert set(tmp_path.iterdir()) == {path}


def test_truncated_file(program, tmp_path):
    path = tmp_path / "cut.pt2"
    torch.export.save(program, path)
    path.write_bytes(path.read_bytes()[:-2000])
    refused("cut.pt2: not a torch.export program, or cut short", path)


def test_what_is_refused(module):
    refused("Net is an nn.Module: give example_inputs", module)
    training = torch.export.export(module.train(), (torch.randn(2, 3, 16, 16),))
    refused(r"exported in training mode .*: call model.eval\(\)", training)
    refused("can't read a list", [module])


class Standardised(nn.Conv2d):
    """As of NFNet: a batch norm, in training mode in every mode, of the weight."""

    def forward(self, x):
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = nn.functional.batch_norm(rows, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
        return nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Centred(nn.Conv2d):
    """As of BiT: the same in arithmetic."""

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        return nn.functional.conv2d(x, (self.weight - mean) / torch.sqrt(variance + 1e-10), self.bias)


@pytest.mark.quick(1)
@pytest.mark.parametrize("decomposed", [False, True])
def test_weights_that_are_standardised_are_constants(decomposed, tmp_path):
    norm = torch.nn.utils.parametrizations.weight_norm
    module = nn.Sequential(Standardised(3, 8, 3, padding=1), nn.ReLU(), Centred(8, 6, 3), norm(nn.Conv2d(6, 5, 1))).eval()
    program = torch.export.export(module, (torch.randn(1, 3, 8, 8),))
    path = tmp_path / "net.pt2"
    torch.export.save(program.run_decompositions() if decomposed else program, path)
    net = load(path)
    assert [(layer.name, layer.reason) for layer in inventory(net.mod)] == [("0", None), ("2", None), ("3", None)]
    assert_imported_right(net)


@pytest.mark.parametrize("part", [nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))])
def test_training_mode_is_refused_in_every_form(part):
    program = torch.export.export(part.train(), (torch.randn(2, 3, 4, 4),))
    refused(r"exported in training mode \(node ", program)
    refused(r"exported in training mode \(node ", program.run_decompositions())


def test_a_batch_norm_without_statistics_is_refused():
    program = torch.export.export(nn.BatchNorm2d(3, track_running_stats=False).eval(), (torch.randn(2, 3, 4, 4),))
    refused("batch norm batch_norm has no running statistics", program)


def test_a_program_that_is_cut(program, module):
    net = load(program, batch=2, outputs=("stem.0", "hardswish"))
    assert [layer.name for layer in inventory(net.mod)] == ["stem.0"] and len(net.outputs) == 2
    assert_imported_right(net)
    x = example(net)
    np.testing.assert_allclose(net.reference(x)[1], module.eval().stem(torch.from_numpy(x["image"])).detach(), atol=1e-5)


def test_without_torch(monkeypatch, tmp_path):
    path = tmp_path / "net.pt2"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(r'pip install "tenfold\[torch\]"', path)
