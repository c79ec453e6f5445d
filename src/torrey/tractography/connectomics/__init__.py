"""Streamlines and a parcellation → matrix of edges: as `tck2connectome` counts them, or differentiable."""

from .assignment import Assignment, EndVoxels, ForwardSearch, KnownNodes, RadialSearch, ReverseSearch
from .matrix import assign_nodes, connectome, inverse_lengths
from .parcellation import Parcellation
from .soft import soft_assignment, soft_connectome

__all__ = [
    "Assignment",
    "EndVoxels",
    "ForwardSearch",
    "KnownNodes",
    "Parcellation",
    "RadialSearch",
    "ReverseSearch",
    "assign_nodes",
    "connectome",
    "inverse_lengths",
    "soft_assignment",
    "soft_connectome",
]
