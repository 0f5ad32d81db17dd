"""Blocks as they are trained, in torch: read, simplified, and held against torch; names of layers are those of modules."""
import pytest
from frontend_checks import assert_same, example
from simplify_checks import kinds, run
from tenfold.passes.simplify.network import load, simplified

torch = pytest.importorskip("torch")
nn = torch.nn


class Branch(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel, groups: int = 1, stride: int = 1):
        padding = tuple(k // 2 for k in kernel)
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Branches of any kernels, and a batch norm of the input itself."""

    def __init__(self, channels: int, *kernels, groups: int = 1, stride: int = 1, same: bool = True):
        super().__init__()
        self.branches = nn.ModuleList(Branch(channels, channels, kernel, groups, stride) for kernel in kernels)
        self.same = nn.BatchNorm2d(channels) if same and stride == 1 else None

    def forward(self, x):
        y = sum(branch(x) for branch in self.branches)
        return torch.relu(y if self.same is None else y + self.same(x))


def trained(module):
    """Running statistics and scales as training leaves them, not 0 and 1."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return module.eval()


@pytest.mark.slow
def test_repvgg_mobileone_and_acnet_as_they_were_trained():
    square, point, tall, wide = (3, 3), (1, 1), (3, 1), (1, 3)
    model = trained(nn.Sequential(
        Block(8, square, point), Block(8, square, point, stride=2), Block(8, square, square, point, groups=8),
        Block(8, point, point, point), Block(8, square, tall, wide, same=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ))
    plain = load(model, example_inputs=torch.randn(2, 8, 16, 16), simplify=False)
    network = simplified(plain)
    assert kinds(network.onnx).count("Conv") == 5 and kinds(network.onnx).count("Add") == 0
    names = [node.name for node in network.onnx.graph.node if node.op_type == "Conv"]
    assert names == [f"{number}.branches.0.0" for number in range(5)]
    x = example(network)
    assert_same(run(network.onnx, x), network.reference(x), ["y"])
    assert plain.simplified is None and kinds(plain.onnx).count("Conv") == 13
    assert network.simplified.before.macs > network.simplified.after.macs
    assert network.key != network.sha256 == plain.key == plain.sha256
