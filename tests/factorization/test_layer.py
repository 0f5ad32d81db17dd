"""What a layer costs, and what it does not accept."""
import pytest
from tenfold.factorization import Layer


def test_convolution():
    """The second layer of Denton et al.'s network: 96 to 256 channels, 5 x 5, 27 x 27 pixels: 448 million MACs."""
    layer = Layer("conv2", "conv2d", (256, 96, 5, 5), padding=(2, 2, 2, 2), input_size=(27, 27), output_size=(27, 27))
    assert layer.macs == 447_897_600
    assert layer.params == 614_400
    assert (layer.in_channels, layer.out_channels, layer.kernel) == (96, 256, (5, 5))


def test_groups_and_batch():
    layer = Layer("dw", "conv2d", (8, 1, 3, 3), groups=8, input_size=(5, 6), output_size=(5, 6), batch=4)
    assert layer.in_channels == 8
    assert layer.macs == 4 * 5 * 6 * 8 * 9


def test_dense():
    layer = Layer("fc", "dense", (10, 256), batch=3)
    assert (layer.macs, layer.params, layer.in_channels, layer.out_channels, layer.kernel) == (7680, 2560, 256, 10, (1, 1))


@pytest.mark.parametrize(
    "kind, shape, more, message",
    [
        ("conv3d", (1, 1, 1, 1), {}, "kind 'conv3d' is neither"),
        ("dense", (1, 1, 1, 1), {}, "weight_shape .* must have 2 entries"),
        ("conv2d", (8, 8), {}, "weight_shape .* must have 4 entries"),
        ("conv2d", (8, 8, 3, 3), {"padding": (1, 1)}, "padding .* must have 4 entries"),
        ("conv2d", (8, 8, 3, 3), {"stride": (1,)}, "stride .* must have 2 entries"),
    ],
)
def test_malformed(kind, shape, more, message):
    with pytest.raises(ValueError, match=f"layer 'a': {message}"):
        Layer("a", kind, shape, **more)
