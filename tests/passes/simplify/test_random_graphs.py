"""Whole graphs at random: all rewrites together, to the fixed point, against ONNX Runtime on the graph as it was given."""
from hypothesis import given, settings
from hypothesis import strategies as st
from simplify_checks import Builder, simplified

STEPS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 10**6)), min_size=2, max_size=9)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(0, 99), st.booleans())
def test_random_graphs(steps, seed, averaged):
    """Values of one size that steps read at random, two at a time; so branches, chains, copies and dead ends come up in any order."""
    b = Builder(1, 8, 8, 7, seed=seed)
    values = ["x"]
    for number, (kind, choice) in enumerate(steps):
        x, other, name = values[-1 - choice % min(len(values), 3)], values[choice // 7 % len(values)], f"n{number}"
        side, group = 1 + choice % 3 // 2 * 2, (1, 2, 8)[choice // 3 % 3]
        if kind <= 3:
            y = b.conv(x, name, 8, 8, (side, side), bool(choice % 2), group, pads=[side // 2] * 4)
        elif kind == 4:
            y = b.conv(b.conv(x, f"{name}a", 12, 8, (1, 1), bool(choice % 2)), name, 8, 12, (3, 3), pads=[1] * 4)
        elif kind == 5:
            y = b.channelwise(("Mul", "Add", "Sub", "Div")[choice % 4], x, name, 8)
        elif kind == 6:
            y = b.batch_norm(x, name, 8)
        elif kind <= 8:
            y = b.add("Add", x, other, name=name)
        elif kind == 9:
            y = b.add(("Relu", "Sigmoid")[choice % 2], x, name=name)
        elif kind == 10:
            y = b.add("AveragePool", x, name=name, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=choice % 2)
        else:
            y = b.conv(x, name, 8, 8, (1, 1))
            b.constants[-2].raw_data = bytes(32) + b.constants[-2].raw_data[32:]  # a filter of zeros
        values.append(y)
    out = b.add("GlobalAveragePool", values[-1], name="mean") if averaged else values[-1]
    simplified(b.model(b.add("Relu", out, name="end")), tolerance=2e-5)
