r"""Apparent diffusion coefficients, −d ln S/db at b = 0, without a simulation.

For gradients along one axis u the coefficient is uᵀ𝔻u, with one tensor for each time course,

    𝔻_uv = x_uᵀM G(M⁻¹S) x_v / (∫ρ ∫F²dt),     G as in `cumulant`,

x the positions of the nodes. Where the gradient turns in space each pair of its components has such a
tensor,

    −d ln S/db = Σ_ab x_aᵀM G_ab(M⁻¹S) x_b / (∫ρ ∫|F|²dt),     b the trace of the b-tensor.

For one closed compartment it is the homogenised apparent diffusion coefficient (HADC) of Haddar, Li and
Schiavi (SIAM J. Appl. Math. 78, 774 (2018)), found there by stepping a diffusion equation whose walls carry
the flux F(t) D u·n, and by Agdestein, Tran and Li (NMR Biomed. 35, e4646 (2022)) from Laplace modes. Here a
space grown from the positions themselves (`fem/krylov.py`) holds what G makes of them on the whole mesh:
there is no cut to choose.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..acquisition import Acquisition, FreeWaveform
from ..acquisition.checks import row
from ..acquisition.free_waveform import rotations_from_z
from ..errors import ConvergenceError, InputError
from ..fem.krylov import krylov_modes
from ..fem.reduced import ModalBasis, ReducedModel, reduced_model
from ..mesh import TetMesh
from ..mesh.validate import require_valid
from .cumulant import Course, second_cumulant, time_weights, weighting
from .operators import Domain, Operators, check_compartments
from .timing import pulse_timings
from .tissue import Tissue

TOLERANCE = 1e-8
"""Change of a coefficient over D by the last solves; what is left after them is far smaller, and the error of
gradients is about the root of that."""

_BETWEEN, _MOST_SOLVES = 3, 120
"""Solves between two looks, and before giving up."""


def apparent_diffusion(mesh: TetMesh, tissue: Tissue, acquisition: Acquisition, *, order: int = 1) -> Tensor:
    """Return the apparent diffusion coefficient of the whole signal, −d ln S/db at b = 0.

    Parameters
    ----------
    mesh : TetMesh
        One or more compartments, µm. Gradients flow to `mesh.vertices`.
    tissue : Tissue
        Any diffusivities, spin densities and permeabilities, to which gradients flow; one T2 for all, and no
        surface relaxivity.
    acquisition : Acquisition
        N measurements with any waveforms, of which only direction and time course count. Gradients flow to
        gradient vectors and the samples of free waveforms.
    order : {1, 2}
        Order of the finite elements.

    Returns
    -------
    (N,) Tensor
        µm²/ms; of gradients that turn in space for b the trace of the b-tensor, D:B/tr B where D is free.

    Raises
    ------
    InputError
        When relaxation differs from place to place, so that the signal changes without a gradient too; when
        a measurement has no gradient; and as for `torrey.simulate`.
    MeshError
        As for `torrey.simulate`.
    """
    if not tissue.rests:
        raise InputError(
            "apparent_diffusion: expected one T2 for all compartments and no surface relaxivity; "
            "compartment_diffusion takes closed compartments of any T2 one by one"
        )
    require_valid(mesh)
    return _coefficients(mesh, tissue, acquisition, order)


def compartment_diffusion(
    mesh: TetMesh, tissue: Tissue, acquisition: Acquisition, *, order: int = 1
) -> Tensor:
    """Return the homogenised apparent diffusion coefficient of each compartment.

    Parameters
    ----------
    mesh, acquisition, order
        As for `apparent_diffusion`.
    tissue : Tissue
        Nothing passes its walls. T2 and spin density scale the signal of a compartment and leave its
        coefficient.

    Returns
    -------
    (N, C) Tensor
        µm²/ms. Gradients flow to vertices and diffusivities.

    Raises
    ------
    InputError
        When a permeability or surface relaxivity is not zero, and as for `apparent_diffusion`.
    MeshError
        As for `torrey.simulate`.
    """
    check_compartments(mesh, tissue)
    for name in ("permeability", "surface_relaxivity"):
        for where, speed in getattr(tissue, name).items():
            if bool((speed != 0).any()):
                raise InputError(
                    f"compartment_diffusion: {name} of {where} is {float(speed.max()):g} µm/ms, expected 0: "
                    "compartments that nothing leaves"
                )
    require_valid(mesh)
    columns = []
    for c in range(mesh.n_compartments):
        used, tets = torch.unique(mesh.tets[mesh.compartments == c], return_inverse=True)
        D = tissue.diffusivity
        alone = Tissue(diffusivity=D if D.ndim in {0, 2} else D[c])
        columns.append(_coefficients(TetMesh(mesh.vertices[used], tets), alone, acquisition, order))
    return torch.stack(columns, dim=1)


def directions(acquisition: Acquisition) -> Tensor:
    """Return the unit vectors (N, 3) of the gradients.

    Raises
    ------
    InputError
        When a measurement has none.
    """
    resting = (acquisition.bvals.detach() == 0).nonzero()
    if len(resting):
        raise InputError(f"{row(int(resting[0]))} has no gradient, expected a direction to diffuse along")
    return acquisition.bvecs


def _coefficients(mesh: TetMesh, tissue: Tissue, acquisition: Acquisition, order: int) -> Tensor:
    """Return uᵀ𝔻u (N,) of the whole signal."""
    u = directions(acquisition)
    domain = Domain.of(mesh, tissue, order=order)
    operators = Operators.of(mesh, tissue, order=order, domain=domain)
    courses = _courses(acquisition)
    basis = _basis(operators, [course for course, _ in courses])
    model = reduced_model(operators.geometry, basis, out_of_span="none")
    u = u.to(model.rates)
    coefficients = u.new_zeros(len(u))
    for course, rows in courses:
        along, tensor = u[rows.to(u.device)], _tensor(model, course)
        if isinstance(course, FreeWaveform):
            turn = rotations_from_z(along)
            own = torch.einsum("niv,njw,vwij->n", turn, turn, tensor)
        else:
            own = torch.einsum("ni,nj,ij->n", along, along, tensor)
        coefficients = coefficients.index_put((rows.to(u.device),), own)
    return coefficients


def _courses(acquisition: Acquisition) -> list[tuple[Course, Tensor]]:
    """Return the time courses that occur, each with the rows (k,) of its measurements."""
    free = [(w, rows) for w, rows in acquisition.by_waveform if isinstance(w, FreeWaveform)]
    return [*pulse_timings(acquisition), *free]


def _basis(operators: Operators, courses: list[Course]) -> ModalBasis:
    """Grow a space from the positions of the nodes until the tensors of all time `courses` settle."""
    (stiffness, mass), nodes = operators.matrices, operators.positions
    block = torch.cat([torch.ones_like(nodes[:, :1]), nodes], dim=1).cpu().numpy()
    loads, last = mass @ block[:, 1:], torch.full((), math.inf)
    for solves, modes in enumerate(krylov_modes(stiffness, mass, block, pole=_pole(courses))):
        if solves % _BETWEEN:
            continue
        p, rates = torch.from_numpy(modes.vectors.T @ loads), torch.from_numpy(modes.values)
        tensors = torch.cat([_contracted(course, rates, p).detach().ravel() for course in courses])
        change = float((tensors - last).abs().max()) / (mass.sum() * operators.mean_diffusivity)
        if change <= TOLERANCE:
            break
        if solves >= _MOST_SOLVES:
            raise ConvergenceError(
                f"apparent diffusion: after {solves} solves coefficients still change by {change:.1e} of D, "
                f"expected {TOLERANCE:g}"
            )
        last = tensors
    return operators.reduce(modes)


def _contracted(course: Course, rates: Tensor, p: Tensor) -> Tensor:
    """Return pᵀG p/∫|F|²dt, (3, 3) or (3, 3, 3, 3), for p (n, 3) in modes of `rates` (n,)."""
    return torch.einsum("ni,...n,nj->...ij", p, time_weights(course, rates) / weighting(course).to(p), p)


def _pole(courses: list[Course]) -> float:
    """Return a rate, 1/ms, between those that the shortest pulse and the longest sequence resolve."""
    spans = [_spans(course) for course in courses]
    return 2 / math.sqrt(min(shortest for shortest, _ in spans) * max(longest for _, longest in spans))


def _spans(course: Course) -> tuple[float, float]:
    """Return the times, ms, of the shortest part of a pulse and of the whole."""
    if isinstance(course, FreeWaveform):
        return course.raster, course.raster * len(course.samples)
    return min(i.end - i.start for i in course.intervals if i.pulse), course.echo_time


def _tensor(model: ReducedModel, course: Course) -> Tensor:
    """Return 𝔻 (3, 3), µm²/ms, or 𝔻_ab (3, 3, 3, 3) of each pair of components of a free waveform."""
    p = model.moments @ model.magnetisation
    density = model.magnetisation.square().sum()
    tensor: Tensor = p @ second_cumulant(course, model.rates) @ p.T / (density * weighting(course).to(p))
    return tensor
