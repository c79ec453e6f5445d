"""Tetrahedral meshes: the value, its files, templates and deformations. Lengths in µm."""

from .surface import Surface as Surface
from .tetmesh import TetMesh as TetMesh
