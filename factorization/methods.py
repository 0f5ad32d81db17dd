"""The methods that plans and the command line know, by name."""
from __future__ import annotations

import difflib

from ..errors import TenfoldError
from .biclustering_outer import BiclusteringOuter
from .biclustering_svd import BiclusteringSvd
from .channel_svd import ChannelSvd
from .choice import spelled
from .cp import Cp
from .decoupled import Decoupled, DecoupledPointwiseFirst
from .flattened import Flattened, FlattenedVhl
from .method import Method
from .monochromatic import Monochromatic
from .separable_basis import SeparableBasis
from .spatial_svd import SpatialSvd
from .svd import Svd
from .tucker2 import Tucker2

_ALL = (
    Svd(), SpatialSvd(), ChannelSvd(), Tucker2(),
    Monochromatic(), BiclusteringSvd(), BiclusteringOuter(),
    SeparableBasis(), Cp(), Flattened(), FlattenedVhl(), Decoupled(), DecoupledPointwiseFirst(),
)

AUTO = "auto"  # stands for no method in particular

METHODS: dict[str, Method] = {method.name: method for method in _ALL}


def method_name(name: str) -> str:
    """The name in ``METHODS`` that is meant, however it is spelled.

    Raises
    ------
    TenfoldError
        There is none; the message lists those that there are.
    """
    known = spelled(name) if isinstance(name, str) else ""
    if known not in METHODS:
        near = difflib.get_close_matches(known, METHODS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise TenfoldError(f"unknown method {name!r}{hint}: choose {AUTO}, {', '.join(METHODS)}")
    return known
