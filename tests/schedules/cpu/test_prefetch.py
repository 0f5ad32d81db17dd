"""How the rows of the next weights are shared out among the passes over those of now; the schedules' tests run what comes of it."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tenfold.schedules.cpu.conv2d.prefetch import share_of


@given(passes=st.integers(1, 300), rows=st.integers(1, 2048))
def test_parts_are_equal_and_their_number_the_nearest(passes, rows):
    parts = share_of(passes, rows)
    assert rows % parts == 0

    def off(number):
        return max(number, passes) / min(number, passes)

    assert all(off(parts) <= off(d) for d in range(1, rows + 1) if rows % d == 0)


def test_powers_of_two():
    assert [share_of(passes, 512) for passes in (1, 7, 9, 14, 33, 1000)] == [1, 8, 8, 16, 32, 512]
