"""What the objects of the API refuse: one line that names the option."""
from __future__ import annotations

import dataclasses

import pytest
import tenfold
from tenfold.support.errors import TenfoldError

REFUSED = [
    (tenfold.Recipe, {"method": "magic"}, "--method: unknown method 'magic'.*tucker2"),
    (tenfold.Recipe, {"method": 3}, "--method 3"),
    (tenfold.Recipe, {"energy": 0.0}, "--energy 0 "),
    (tenfold.Recipe, {"energy": 1.5}, "--energy 1.5"),
    (tenfold.Recipe, {"energy": float("nan")}, "--energy nan"),
    (tenfold.Recipe, {"energy": "half"}, "--energy 'half'"),
    (tenfold.Settings, {"methods": ("svd", "magic")}, "--method: unknown method 'magic'"),
    (tenfold.Settings, {"methods": ()}, "--method: .*one at least"),
    (tenfold.Settings, {"methods": "svd"}, "--method: .*sequence of names"),
    (tenfold.Settings, {"correction": "more"}, "correction 'more'.*fisher"),
    (tenfold.Settings, {"threads": 0}, "--threads 0"),
    (tenfold.Settings, {"threads": 1.5}, "--threads 1.5"),
    (tenfold.Settings, {"silence": 0}, "--silence 0"),
    (tenfold.Budget, {"max_drop": "1"}, "--max-drop '1'"),
    (tenfold.Budget, {"speedup": True}, "--speedup True"),
    (tenfold.Reading, {"batch": 0}, "batch .* not 0"),
    (tenfold.Reading, {"outputs": "scores"}, "outputs must be a sequence of names"),
]


@pytest.mark.parametrize(("kind", "options", "words"), REFUSED)
def test_a_field_that_makes_no_sense(kind, options, words):
    with pytest.raises(TenfoldError, match=words) as caught:
        kind(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [tenfold.Budget, tenfold.Recipe, tenfold.Settings, tenfold.Plan, tenfold.Choice, tenfold.Reading])
def test_what_is_given_stays_as_it_is(kind):
    known = {tenfold.Budget: {"max_drop": 1}, tenfold.Plan: {"model": "m", "target": "t"}, tenfold.Choice: {"method": "svd", "ranks": (1,)}}
    made = kind(**known.get(kind, {}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(made)[0].name, None)


def test_names_are_known_in_any_spelling():
    assert tenfold.Recipe("Spatial-SVD").method == "spatial_svd" and tenfold.Recipe(" AUTO ").method == "auto"
    assert tenfold.Settings(methods=["channel-svd", "SVD"]).methods == ("channel_svd", "svd")


def test_everything_public_is_there_and_documented():
    for name in tenfold.__all__:
        thing = getattr(tenfold, name)
        assert thing.__doc__ and not thing.__doc__.startswith(f"{name}("), f"{name} says nothing"
    assert tenfold.__all__ == sorted(tenfold.__all__) and set(tenfold.__all__) <= set(dir(tenfold))
    with pytest.raises(AttributeError, match="wings"):
        tenfold.wings  # noqa: B018
