"""The methods that plans and the command line know, by name."""
from __future__ import annotations

from .biclustering_outer import BiclusteringOuter
from .biclustering_svd import BiclusteringSvd
from .channel_svd import ChannelSvd
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

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
