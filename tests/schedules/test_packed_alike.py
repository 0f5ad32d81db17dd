"""A weight that another size of the network has packed is read in the same form, where that costs little."""
from __future__ import annotations

import numpy as np
from host_model import named
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.schedules.backend import MODEL, KernelChoices, LayerConstants, backend_of
from tenfold.schedules.choices import PACKED_ALIKE
from tenfold.schedules.shapes import DenseWorkload


def dense(rows, channels=2304, filters=256):
    return DenseWorkload(rows, channels, filters)


def chosen(target, workload, forms=None):
    """A kernel, and how weights are packed then."""
    choices = KernelChoices(forms=forms or {})
    kernel = backend_of(target, choices).dense(workload)
    assert choices.origins == {kernel.workload: MODEL} and choices.taken == {kernel.workload: kernel.point}
    return kernel, choices.packed


def packed(kernel, weight):
    return kernel.bind(LayerConstants(weight)).constants[0]


def test_the_form_of_another_batch_is_taken_or_too_dear(target):
    shared = 0
    for batch in (2, 4, 8, 16, 32):
        other, forms = chosen(target, dense(16))
        alone, _ = chosen(target, dense(batch))
        kernel, _ = chosen(target, dense(batch), forms)
        price = alone.terms()["ms"]
        assert kernel.terms()["ms"] <= PACKED_ALIKE * price
        if kernel.packing == other.packing:
            weight = np.random.default_rng(0).standard_normal((256, 2304)).astype("float32")
            np.testing.assert_array_equal(packed(kernel, weight), packed(other, weight))
            shared += 1
        else:
            assert kernel == alone
            assert all(kernel.terms_at(point)["ms"] > PACKED_ALIKE * price for point in kernel.packed_as(other.packing[1]))
    assert shared > 0


def test_a_form_that_is_too_dear_is_not_taken(target, monkeypatch):
    alone, _ = chosen(target, dense(16))
    layer, form = alone.packing
    forms = {layer: [{"vectors": vectors} for vectors in (1, 2, 3, 4) if vectors != form["vectors"]]}
    monkeypatch.setattr("tenfold.schedules.choices.PACKED_ALIKE", 0.1)
    assert chosen(target, dense(16), forms)[0] == alone
    monkeypatch.setattr("tenfold.schedules.choices.PACKED_ALIKE", 10.0)
    assert chosen(target, dense(16), forms)[0].packing in [(layer, each) for each in forms[layer]]


def test_forms_of_other_layers_and_of_no_kernel_change_nothing(target):
    alone, _ = chosen(target, dense(16))
    for forms in ({"dense 2304 filters 255": [{"vectors": 1}]}, {alone.packing[0]: [{"vectors": 99}]}, {alone.packing[0]: []}):
        assert chosen(target, dense(16), forms)[0] == alone


def test_a_weight_that_is_little_of_what_is_read_keeps_its_own_form(target):
    """As in a network with attention, whose rows are many."""
    kernel, forms = chosen(target, dense(1024, 144, 288))
    assert kernel.packing is None and forms == {}


@given(
    preset=st.sampled_from(["zen3", "zen4", "cortex-a72"]),
    rows=st.integers(2, 40),
    channels=st.integers(1, 300),
    filters=st.integers(1, 300),
    vectors=st.integers(1, 4),
)
@settings(deadline=None, max_examples=60)
def test_what_is_packed_by_the_same_knobs_is_the_same(preset, rows, channels, filters, vectors):
    target = named(preset)
    kernel, _ = chosen(target, dense(rows, channels, filters))
    weight = np.arange(filters * channels, dtype="float32").reshape(filters, channels)
    forms = {packed(kernel.at(point), weight).tobytes() for point in kernel.packed_as({"vectors": vectors})}
    assert len(forms) <= 1
    own = {packed(kernel.at(point), weight).tobytes() for point in kernel.packed_as({"vectors": kernel.point["vectors"]})}
    assert own == {packed(kernel, weight).tobytes()}
