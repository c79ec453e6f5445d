"""Tetrahedral meshes: the value, its files, templates and deformations. Lengths in µm."""

from .deform import AbstractDeformation as AbstractDeformation
from .deform import Bead as Bead
from .deform import Bend as Bend
from .deform import Compose as Compose
from .deform import Fan as Fan
from .deform import Twist as Twist
from .deform import deform as deform
from .disc import disc as disc
from .files import read_mesh as read_mesh
from .files import write_mesh as write_mesh
from .quality import QualitySummary as QualitySummary
from .quality import edge_lengths as edge_lengths
from .quality import summarise_quality as summarise_quality
from .surface import Surface as Surface
from .surface_files import read_surface as read_surface
from .surface_files import write_surface as write_surface
from .sweep import sweep_connectivity as sweep_connectivity
from .templates import box as box
from .templates import cylinder as cylinder
from .templates import sphere as sphere
from .tetmesh import TetMesh as TetMesh
from .tetrahedralize import tetrahedralize as tetrahedralize
from .validate import MeshReport as MeshReport
from .validate import require_valid as require_valid
from .validate import validate as validate
from .volumes import tet_volumes as tet_volumes
