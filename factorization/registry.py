"""The methods that plans and the command line know, by name."""
from __future__ import annotations

import difflib

from ..support.errors import TenfoldError
from .choice import spelled
from .method import Method
from .methods.biclustering_outer import BiclusteringOuter
from .methods.biclustering_svd import BiclusteringSvd
from .methods.channel_svd import ChannelSvd
from .methods.cp import Cp
from .methods.decoupled import Decoupled, DecoupledPointwiseFirst
from .methods.flattened import Flattened, FlattenedVhl
from .methods.monochromatic import Monochromatic
from .methods.prune import Prune
from .methods.separable_basis import SeparableBasis
from .methods.spatial_svd import SpatialSvd
from .methods.svd import Svd
from .methods.tucker2 import Tucker2

_ALL = (
    Svd(), SpatialSvd(), ChannelSvd(), Tucker2(),
    Monochromatic(), BiclusteringSvd(), BiclusteringOuter(),
    SeparableBasis(), Cp(), Flattened(), FlattenedVhl(), Decoupled(), DecoupledPointwiseFirst(),
    Prune(),
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
