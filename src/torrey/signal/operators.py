"""`Operators`: the finite-element matrices of a tissue on a mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array, csc_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.autograd import forward_ad

from ..errors import InputError
from ..fem.assembly import PairValues, assemble
from ..fem.eigenmodes import Eigenmodes, Spectrum
from ..fem.geometry import Coefficients, ElementGeometry, element_geometry
from ..fem.reduced import ModalBasis, modal_basis
from ..fem.space import FunctionSpace
from ..mesh import TetMesh
from ..mesh.compartments import SplitMesh, one_compartment, split_compartments
from ..mesh.volumes import tet_volumes
from .tissue import Tissue


@dataclass(frozen=True, eq=False)
class Domain:
    """The nodes of a tissue, or of a part of it, on the connectivity of a mesh, wherever its vertices are.

    Attributes
    ----------
    split : SplitMesh
        The mesh with vertices of its own for each compartment.
    compartments : (T,) Tensor
        Compartment of each tet.
    space : FunctionSpace
        Over the split vertices, with the facets through which something passes, in the order in which a
        tissue names them.
    """

    split: SplitMesh
    compartments: Tensor
    space: FunctionSpace

    @classmethod
    def of_one_compartment(cls, tets: Tensor, *, order: int) -> Domain:
        """Return the domain of one compartment of `tets` (T, 4), every vertex of which is in one of them."""
        split = one_compartment(tets)
        space = FunctionSpace.on(split.tets, len(split.parent), order=order)
        return cls(split, torch.zeros_like(tets[:, 0]), space)

    @classmethod
    def of(cls, mesh: TetMesh, tissue: Tissue, *, order: int) -> Domain:
        """Split `mesh` and number its nodes.

        Raises
        ------
        InputError
            When `tissue` and `mesh` differ in their compartments, or a permeability is given for compartments
            that do not touch.
        """
        return cls._on(_checked_split(mesh, tissue), mesh.compartments, tissue, order)

    @classmethod
    def parts_of(cls, mesh: TetMesh, tissue: Tissue, *, order: int) -> list[Domain]:
        """Return a domain for each group of compartments that exchanges nothing with the rest.

        Raises
        ------
        InputError
            As `Domain.of`.
        """
        split = _checked_split(mesh, tissue)
        groups = _exchanging(mesh, tissue)
        if len(groups) == 1:
            return [cls._on(split, mesh.compartments, tissue, order)]
        parts = []
        for group in groups:
            tets = torch.isin(mesh.compartments, group)
            parts.append(cls._on(split.only(tets, group), mesh.compartments[tets], tissue, order))
        return parts

    @classmethod
    def _on(cls, split: SplitMesh, compartments: Tensor, tissue: Tissue, order: int) -> Domain:
        interfaces = [split.between(*pair) for pair in tissue.permeability]
        walls = [(split.wall_compartments == c).nonzero().ravel() for c in tissue.surface_relaxivity]
        none = split.parent.new_zeros(0)
        which, where = torch.cat([none, *interfaces]), torch.cat([none, *walls])
        space = FunctionSpace.on(
            split.tets,
            len(split.parent),
            order=order,
            interfaces=split.interfaces[which],
            walls=split.walls[where],
        )
        return cls(split, compartments, space)

    def indicators(self, count: int) -> Tensor:
        """Return the functions (count, nodes) that are one in a compartment and zero elsewhere."""
        owner = self.compartments.new_empty(self.space.n_nodes)
        # nodes belong to one compartment each
        owner[self.space.tet_nodes] = self.compartments[:, None].expand_as(self.space.tet_nodes)
        return torch.nn.functional.one_hot(owner, count).mT.double()

    def coefficients(self, tissue: Tissue) -> Coefficients:
        """Return what of `tissue` is where, differentiable in its values.

        With the magnetisation written ρm all matrices are symmetric, also where densities differ: the flux
        κ(c₂₁M₁ − c₁₂M₂), c₂₁ = 2ρ₂/(ρ₁ + ρ₂), is κ 2ρ₁ρ₂/(ρ₁ + ρ₂) times the jump of m.
        """
        own = self.compartments
        density = _of(tissue.spin_density, own)
        exchange, uptake = [density.new_zeros(0)], [density.new_zeros(0)]
        rho = tissue.spin_density
        for (i, j), kappa in tissue.permeability.items():
            first, second = (rho, rho) if rho.ndim == 0 else (rho[i], rho[j])
            if faces := len(self.split.between(i, j)):
                exchange.append((kappa * 2 * first * second / (first + second)).expand(faces))
        for c, speed in tissue.surface_relaxivity.items():
            faces = int((self.split.wall_compartments == c).sum())
            uptake.append((speed * (rho if rho.ndim == 0 else rho[c])).expand(faces))
        D = tissue.diffusion_tensor
        return Coefficients(
            D if D.ndim == 2 else D[own],
            density,
            _of(1 / tissue.T2 - uniform_rate(tissue), own),
            torch.cat(exchange),
            torch.cat(uptake),
        )


def uniform_rate(tissue: Tissue) -> Tensor:
    """Return a relaxation rate, 1/ms, that all compartments have at least.

    The signal with this much relaxation less, times exp(−TE · rate), does not depend on its choice, so that
    its gradient may be left out where T2 differs.
    """
    return 1 / tissue.T2 if tissue.T2.ndim == 0 else (1 / tissue.T2.detach()).min()


@dataclass(frozen=True, eq=False)
class Operators:
    """Assembled finite-element matrices, ready for an eigen-solve.

    Attributes
    ----------
    space : FunctionSpace
        Nodes and pattern.
    geometry : ElementGeometry
        About the centroid, differentiable in mesh and tissue.
    values : PairValues
        The matrices about the centroid.
    positions : (nodes, 3) Tensor
        Of the nodes about the centroid, µm.
    centroid : (3,) Tensor
        Subtracted from positions, µm; signals do not see it.
    mean_diffusivity : float
        D̄, the mean of tr(D)/3 over the volume, µm²/ms.
    volume : float
        µm³, whatever the spin density.
    """

    space: FunctionSpace
    geometry: ElementGeometry
    values: PairValues
    positions: Tensor
    centroid: Tensor
    mean_diffusivity: float
    volume: float

    @classmethod
    def of(cls, mesh: TetMesh, tissue: Tissue, *, order: int, domain: Domain | None = None) -> Operators:
        """Assemble on `mesh`; a `domain` of the same connectivity can be passed to be used again."""
        domain = Domain.of(mesh, tissue, order=order) if domain is None else domain
        geometry, centroid = geometry_of(mesh, tissue, domain)
        with torch.no_grad():
            values = assemble(domain.space, geometry)
            rates = tissue.diffusion_tensor.diagonal(dim1=-2, dim2=-1).mean(-1).to(centroid)
            vertices = mesh.vertices.double()[domain.split.parent] - centroid
            volumes = tet_volumes(vertices, domain.split.tets)
            volume = float(volumes.sum())
            mean = float((_of(rates, domain.compartments) * volumes).sum()) / volume
            positions = domain.space.node_positions(vertices)
        return cls(domain.space, geometry, values, positions, centroid, mean, volume)

    def rate_of(self, length_scale: float) -> float:
        """Return the eigenvalue D̄(π/ℓ)², 1/ms, of a `length_scale` ℓ in µm."""
        return self.mean_diffusivity * (math.pi / length_scale) ** 2

    @property
    def matrices(self) -> tuple[csc_array, csc_array]:
        """S and M, sparse."""
        return self.space.matrix(self.values.stiffness), self.space.matrix(self.values.mass)

    def spectrum(self) -> Spectrum:
        """Factorise the eigenproblem, ready to be solved as far up as is asked for."""
        return Spectrum(*self.matrices, diffusivity=self.mean_diffusivity, volume=self.volume)

    def modes(self, *, count: int | None = None, below: float | None = None) -> Eigenmodes:
        """Compute the lowest modes, by `count` or `below` an eigenvalue."""
        return self.spectrum().lowest(count=count, below=below)

    def basis(self, *, count: int | None = None, below: float | None = None) -> ModalBasis:
        """Compute the lowest modes and reduce the operators to them."""
        return self.reduce(self.modes(count=count, below=below))

    def reduce(self, modes: Eigenmodes) -> ModalBasis:
        """Reduce the operators to the kept ones of their `modes`."""
        return modal_basis(self.space, modes, self.values.moments, self.positions, self.centroid)


def geometry_of(mesh: TetMesh, tissue: Tissue, domain: Domain) -> tuple[ElementGeometry, Tensor]:
    """Return the geometry about the centroid, differentiable in `mesh` and `tissue`, and that centroid."""
    vertices = mesh.vertices.double()[domain.split.parent]
    centroid = vertices.detach().mean(0)
    vertices = vertices - centroid
    coefficients = Coefficients(*(c.to(vertices.device) for c in domain.coefficients(tissue)))
    return element_geometry(vertices, domain.space, coefficients), centroid


def _of(value: Tensor, compartments: Tensor) -> Tensor:
    """Return `value` as it is, or that of each tet where it has one for each compartment."""
    return value if value.ndim == 0 else value[compartments]


def check_compartments(mesh: TetMesh, tissue: Tissue) -> None:
    """Raise where `tissue` names other compartments than `mesh` has."""
    count = mesh.n_compartments
    if tissue.n_compartments not in (None, count):
        raise InputError(
            f"tissue: values for {tissue.n_compartments} compartments, expected {count} as the mesh has"
        )
    named = [*tissue.surface_relaxivity, *(c for pair in tissue.permeability for c in pair)]
    for compartment in named:
        if compartment >= count:
            raise InputError(
                f"tissue: names compartment {compartment}, expected 0 … {count - 1} as the mesh has"
            )


def _checked_split(mesh: TetMesh, tissue: Tissue) -> SplitMesh:
    """Split `mesh`, and refuse what `tissue` names and it does not have."""
    check_compartments(mesh, tissue)
    split = split_compartments(mesh)
    for (i, j), kappa in tissue.permeability.items():
        _check_faces(kappa, split.between(i, j), f"permeability of {i} and {j}")
    for c, speed in tissue.surface_relaxivity.items():
        _check_faces(speed, (split.wall_compartments == c).nonzero(), f"surface_relaxivity of {c}")
    return split


def _exchanging(mesh: TetMesh, tissue: Tissue) -> list[Tensor]:
    """Return the groups of compartments (c,) that are connected by walls that let something through.

    A wall of permeability zero is closed, unless someone asks how the signal changes when it opens.
    """
    n = mesh.n_compartments
    open_walls = [
        pair for pair, kappa in tissue.permeability.items() if kappa.any() or _is_differentiated(kappa)
    ]
    first, second = np.array([*open_walls, (0, 0)]).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    groups = torch.as_tensor(connected_components(graph, directed=False)[1], device=mesh.compartments.device)
    present = torch.unique(mesh.compartments)
    return [present[groups[present] == g] for g in torch.unique(groups[present])]


def _is_differentiated(value: Tensor) -> bool:
    """Return whether a derivative in `value` is asked for, in reverse or forward mode."""
    return value.requires_grad or forward_ad.unpack_dual(value).tangent is not None


def _check_faces(value: Tensor, faces: Tensor, name: str) -> None:
    if len(faces) == 0:
        raise InputError(f"{name}: the mesh has no such face; expected compartments that touch")
    if value.ndim == 1 and len(value) != len(faces):
        raise InputError(f"{name}: {len(value)} values, expected one or {len(faces)}, one for each face")
