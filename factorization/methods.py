"""The methods that plans and the command line know, by name."""
from __future__ import annotations

from .channel_svd import ChannelSvd
from .cp import Cp
from .decoupled import Decoupled, DecoupledPointwiseFirst
from .flattened import Flattened, FlattenedVhl
from .method import Method
from .separable_basis import SeparableBasis
from .spatial_svd import SpatialSvd
from .svd import Svd
from .tucker2 import Tucker2

_ALL = (
    Svd(), SpatialSvd(), ChannelSvd(), Tucker2(),
    SeparableBasis(), Cp(), Flattened(), FlattenedVhl(), Decoupled(), DecoupledPointwiseFirst(),
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
