"""Which method and ranks are chosen for a layer, and what a refusal says."""
import numpy as np
import pytest
from factor_reference import PROPERTY, conv_layer, layers, random_weight
from hypothesis import given
from hypothesis import strategies as st
from tenfold.factorization import METHODS, Choice, Layer, Refusal
from tenfold.factorization.choice import choose_by_energy

CONV = [METHODS[name] for name in ("spatial_svd", "channel_svd", "tucker2")]


def _with_spectrum(f, c, values, seed=0):
    """An F x C matrix with these singular values."""
    rng = np.random.default_rng(seed)
    u, v = np.linalg.qr(rng.standard_normal((f, len(values))))[0], np.linalg.qr(rng.standard_normal((c, len(values))))[0]
    return ((u * np.asarray(values)) @ v.T).astype(np.float32)


def _choose_dense(rank, multiple, f=40, c=40):
    """The choice for a weight of which energy 0.999 needs exactly ``rank`` equal singular values."""
    return choose_by_energy(Layer("fc", "dense", (f, c)), _with_spectrum(f, c, [1.0] * rank), [METHODS["svd"]], 0.999, multiple)


@pytest.mark.parametrize(
    "rank, multiple, chosen",
    [
        (5, 1, 5),
        (5, 8, 8),
        (8, 8, 8),
        (9, 16, 16),
        (17, 16, 16),  # 32 is past 20, from where on a chain of a 40 x 40 matrix saves nothing; 17 does save
        (19, 8, 16),
        (7, 64, 7),  # 40, the highest, costs more than the layer; below 7 there is no multiple of 64
    ],
)
def test_ranks_are_rounded(rank, multiple, chosen):
    assert _choose_dense(rank, multiple) == Choice("svd", (chosen,))


def test_rounding_stops_at_the_highest_rank():
    """3 input channels: K1 stays at 3. 1 x 1 output pixels and many of them in the core make K2 = 16 pay."""
    layer = conv_layer(64, 3, 7, 7, size=(20, 20), stride=(2, 2))
    rng = np.random.default_rng(0)
    weight = np.einsum("fk,kcyx->fcyx", rng.standard_normal((64, 9)), rng.standard_normal((9, 3, 7, 7))).astype(np.float32)
    assert choose_by_energy(layer, weight, [METHODS["tucker2"]], 0.9999, 16) == Choice("tucker2", (3, 16))


@pytest.mark.parametrize("rank, macs", [(20, 1600), (25, 2000)])
def test_refusal_has_both_numbers(rank, macs):
    reason = f"svd at rank {rank} would take {macs} MACs, the dense layer takes 1600"
    assert _choose_dense(rank, 1) == Refusal(reason)


def test_auto_takes_the_fewest_macs():
    rng = np.random.default_rng(1)
    layer = conv_layer(32, 32, 5, 5, size=(12, 12))
    separable = np.einsum("fkx,kcy->fcyx", rng.standard_normal((32, 4, 5)), rng.standard_normal((4, 32, 5))).astype(np.float32)
    assert choose_by_energy(layer, separable, CONV, 1.0, 1) == Choice("spatial_svd", (4,))
    shared = np.einsum("fk,kcyx->fcyx", rng.standard_normal((32, 3)), rng.standard_normal((3, 32, 5, 5))).astype(np.float32)
    assert choose_by_energy(layer, shared, CONV, 1.0, 1) == Choice("channel_svd", (3,))
    core = rng.standard_normal((8, 3, 5, 5))
    narrow = np.einsum("fl,lkyx,kc->fcyx", rng.standard_normal((32, 8)), core, rng.standard_normal((3, 32))).astype(np.float32)
    assert choose_by_energy(layer, narrow, CONV, 1.0, 1) == Choice("tucker2", (3, 8))


@PROPERTY
@given(layer=layers("channel_svd"), seed=st.integers(0, 2**32 - 1), energy=st.floats(0.05, 1), multiple=st.integers(1, 4))
def test_a_choice_saves_and_no_method_saves_more(layer, seed, energy, multiple):
    weight = random_weight(layer, seed)
    choice = choose_by_energy(layer, weight, CONV, energy, multiple)
    alone = [choose_by_energy(layer, weight, [method], energy, multiple) for method in CONV]
    costs = [METHODS[c.method].macs(layer, c.ranks) for c in alone if isinstance(c, Choice)]
    if isinstance(choice, Refusal):
        assert not costs and str(layer.macs) in choice.reason
        return
    macs = METHODS[choice.method].macs(layer, choice.ranks)
    assert macs == min(costs) < layer.macs
    if multiple == 1:
        chain = METHODS[choice.method].factorize(weight, layer, choice.ranks)
        modes = len(choice.ranks)
        assert chain.relative_error(weight) ** 2 <= modes * (1 - energy) + 1e-6


def test_refusals_of_all_methods_are_told_once():
    layer = conv_layer(8, 1, 3, 3, groups=8)
    assert choose_by_energy(layer, random_weight(layer, 0), CONV, 0.5, 1) == Refusal("depthwise: nothing to factor")
    layer = conv_layer(8, 8, 1, 1, size=(4, 4))
    reason = choose_by_energy(layer, random_weight(layer, 0), CONV[::2], 0.5, 1).reason
    assert reason.count("1 x 1 kernel") == 2 and "no rows and columns to separate" in reason and "; " in reason


def test_weights_that_are_not_finite_are_refused():
    layer = Layer("fc", "dense", (4, 4))
    weight = np.full((4, 4), np.inf, np.float32)
    assert choose_by_energy(layer, weight, [METHODS["svd"]], 0.5, 1) == Refusal("the weight holds NaN or infinite values")
