"""`reconstruct`: from a measured signal to the shape that made it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..autodiff import jacobian
from ..errors import ConvergenceError, InputError
from ..fem.blas_threads import one_blas_thread
from ..mesh import TetMesh
from ..mesh.validate import require_valid
from ..shape import AbstractShape, Extent, Tube
from ..signal import MatrixFormalism
from ..signal.tissue import Tissue
from .adam import Adam
from .extent import estimate_extent
from .fine_model import FineModel
from .fit import USUAL_FINE, Candidate, Fit, Fitter, Report
from .levenberg_marquardt import LevenbergMarquardt
from .measurement import Measurement, check_measurement
from .posterior import laplace_posterior
from .result import Iteration, Posterior, Reconstruction
from .stages import Stage, only_stage, stages

_TRIES = 50

_MOST_PARAMETERS = 400
"""Parameters up to which a Jacobian is formed; with more, first-order descent is the default."""


def reconstruct(
    signal: Tensor,
    acquisition: Acquisition,
    tissue: Tissue,
    *,
    shape: AbstractShape | None = None,
    optimiser: LevenbergMarquardt | Adam | None = None,
    solver: MatrixFormalism | None = None,
    n_starts: int = 4,
    n_candidates: int | None = None,
    sigma: float | None = None,
    normalised: bool = False,
    generator: torch.Generator | None = None,
    progress: Callable[[Iteration], None] | None = None,
) -> Reconstruction:
    """Find the shape whose simulated signal fits a measured one.

    Minimises ½Σ(S(z) − S)²/σ² plus a weak Gaussian prior on smooth shapes over the latent z of a shape model,
    from several starts: size first, then all of the shape to falling errors; the last steps fit a finer mesh
    by defect correction. PGSE
    signals do not see position and cannot tell a shape from its point reflection, so the answer is up to
    both.

    Parameters
    ----------
    signal : (N,) Tensor
        Measured ∫ρM in µm³, or S/S(0) where `normalised`.
    acquisition : Acquisition
        Its protocol.
    tissue : Tissue
        Diffusivity, T2 and spin density, taken as known.
    shape : AbstractShape, optional
        What shapes are considered; `Tube()` by default.
    optimiser : LevenbergMarquardt or Adam, optional
        Levenberg–Marquardt by default, Adam for shapes of more than 400 parameters.
    solver : MatrixFormalism, optional
        What the answer is to agree with on the mesh of `shape`: elements of its order and its modes, by count
        or length scale. By default second-order elements and modes down to 1.2 µm.
    n_starts : int
        Starts: cylinders of the size and axis that the signal suggests, bent at random, or shapes that a
        learned model knows (for Adam the first is straight).
    n_candidates : int, optional
        Random shapes of which a start takes the one that explains the signal best: at once, or from 16 on
        after one in eight has gone through the early stages; where the model knows relatives of training
        shapes, after they have been fitted, eight at a time until one explains it. 3 by default, 24 of
        learned shapes.
    sigma : float, optional
        Standard deviation of the noise over S(0). Where not given it is estimated from what the shape cannot
        explain.
    normalised : bool
        Whether `signal` was divided by S(0); the volume is then found from the diffusion weighting alone.
    generator : torch.Generator, optional
        For the random starts; seeded with 0 by default.
    progress : callable, optional
        Called with every accepted `Iteration`.

    Returns
    -------
    Reconstruction
        The best start's shape, signal, history and posterior.

    Raises
    ------
    InputError
        When signal, protocol, noise or settings are wrong.
    """
    clock = _Clock(progress)
    shape = Tube() if shape is None else shape
    if optimiser is None:
        optimiser = Adam() if shape.n_latent > _MOST_PARAMETERS else LevenbergMarquardt()
    _require_affordable(optimiser, shape)
    _require_one_compartment(tissue)
    n_candidates = shape.n_candidates if n_candidates is None else n_candidates
    for name, count in (("n_starts", n_starts), ("n_candidates", n_candidates)):
        if count < 1:
            raise InputError(f"{name}: expected at least 1, got {count}")
    fine = USUAL_FINE if solver is None else FineModel.of(solver)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    seed = generator.initial_seed()
    measurement = check_measurement(signal, acquisition, normalised=normalised, sigma=sigma)
    # the paper descends in the full latent at once
    sequence = stages(shape) if isinstance(optimiser, LevenbergMarquardt) else (only_stage(shape),)
    straight = isinstance(optimiser, Adam)
    starts = _starts(
        sequence[0],
        measurement,
        tissue,
        count=n_starts,
        candidates=n_candidates,
        straight=straight,
        generator=generator,
    )
    with one_blas_thread():
        fits = []
        for start, candidates in enumerate(starts):
            fitter = Fitter(measurement, tissue, optimiser, clock.of_start(start), fine)
            fits.append(fitter.run(sequence, shape, candidates))
        best = min(fits, key=lambda fit: fit.cost)
        mesh = TetMesh(shape.vertices(best.latent).detach(), shape.tets)
        require_valid(mesh, name="reconstructed mesh")
        posterior = _posterior(best, shape, mesh, measurement, floor=fine.floor)
    return Reconstruction(
        mesh=mesh,
        latent=best.latent,
        measured=measurement.signal,
        predicted=best.predicted,
        acquisition=acquisition,
        tissue=tissue,
        normalised=normalised,
        misfit=best.misfit,
        start_misfits=tuple(fit.misfit for fit in fits),
        history=tuple(clock.history),
        posterior=posterior,
        settings=_settings(shape, optimiser, tissue, measurement, fine, n_starts=n_starts, seed=seed),
        stop_reason=best.reason,
        seconds=clock.seconds,
    )


class _Clock:
    """Collects the iterations of all starts with the time since it was made, and hands them on."""

    def __init__(self, progress: Callable[[Iteration], None] | None) -> None:
        self._began = time.perf_counter()
        self._progress = progress
        self.history: list[Iteration] = []

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def of_start(self, start: int) -> Report:
        """Return what the fit of one start reports to."""

        def report(stage: str, iteration: int, misfit: float, shape: AbstractShape, latent: Tensor) -> None:
            self.history.append(Iteration(start, stage, iteration, misfit, self.seconds, shape, latent))
            if self._progress is not None:
                self._progress(self.history[-1])

        return report


def _require_one_compartment(tissue: Tissue) -> None:
    if tissue.n_compartments is not None or tissue.permeability or tissue.surface_relaxivity:
        raise InputError(
            "tissue: reconstruct finds the shape of one impermeable compartment, expected one number for "
            "each value, no permeability and no surface_relaxivity"
        )


def _require_affordable(optimiser: LevenbergMarquardt | Adam, shape: AbstractShape) -> None:
    if isinstance(optimiser, LevenbergMarquardt) and shape.n_latent > _MOST_PARAMETERS:
        raise InputError(
            f"optimiser: LevenbergMarquardt takes a Jacobian with a column for each of the {shape.n_latent} "
            f"parameters of this shape, expected at most {_MOST_PARAMETERS}; use Adam"
        )


def _starts(
    first: Stage,
    measurement: Measurement,
    tissue: Tissue,
    *,
    count: int,
    candidates: int,
    straight: bool,
    generator: torch.Generator,
) -> list[list[Candidate]]:
    """Return for each start what to choose from; `straight` leaves the first no choice, as published.

    A straight tube is a saddle for second-order steps: bending it either way changes the signal alike.
    """
    extent = estimate_extent(
        measurement.attenuation,
        measurement.acquisition,
        diffusivity=float(tissue.diffusion_tensor.detach().trace()) / 3,
        volume=_volume_of(measurement, tissue),
    )
    shape = first.shape
    starts = [[Candidate(shape, shape.initial(extent, generator=None))]] if straight else []
    # first-order descent is of one model, as published
    n_relatives = 0 if straight else shape.n_relatives
    while len(starts) < count:
        starts.append(_random_candidates(shape, n_relatives, extent, candidates, generator))
    return starts


def _random_candidates(
    shape: AbstractShape, n_relatives: int, extent: Extent, count: int, generator: torch.Generator
) -> list[Candidate]:
    found: list[Candidate] = []
    for _ in range(_TRIES * count):
        model = shape
        if n_relatives:
            model = shape.relatives(int(torch.randint(n_relatives, (), generator=generator)))
        latent = model.initial(extent, generator=generator)
        if model.fold_margin(latent) > model.start_margin:
            found.append(Candidate(model, latent))
        if len(found) == count:
            return found
    raise ConvergenceError(
        f"starts: {len(found)} of {count} random shapes do not fold at length {extent.length:.3g} µm "
        f"and radius {extent.radius:.3g} µm, suggested by the signal"
    )


def _volume_of(measurement: Measurement, tissue: Tissue) -> float | None:
    """Volume, µm³, that S(0) tells; None where signals are normalised."""
    if measurement.normalised:
        return None
    weight = tissue.spin_density * torch.exp(-measurement.acquisition.echo_time.mean() / tissue.T2)
    return measurement.reference / float(weight)


def _posterior(
    best: Fit, shape: AbstractShape, mesh: TetMesh, measurement: Measurement, *, floor: float
) -> Posterior:
    at = best.cheap.linearise()
    n_free = max(1, len(measurement.signal) - shape.n_latent)
    residual = best.misfit * (len(measurement.signal) / n_free) ** 0.5
    noise = measurement.sigma if measurement.sigma is not None else residual
    return laplace_posterior(
        at.jacobian / measurement.reference,
        mesh,
        jacobian(shape.vertices, best.latent),
        noise_sigma=noise,
        model_sigma=max(best.model_sigma, floor),
    )


def _settings(
    shape: AbstractShape,
    optimiser: LevenbergMarquardt | Adam,
    tissue: Tissue,
    measurement: Measurement,
    fine: FineModel,
    *,
    n_starts: int,
    seed: int,
) -> dict[str, Any]:
    numbers = {
        f.name: value
        for f in fields(shape)  # type: ignore[arg-type]
        if isinstance(value := getattr(shape, f.name), int | float)
    }
    return {
        "shape": {"model": type(shape).__name__.lower(), **numbers},
        "optimiser": {"method": type(optimiser).__name__, **asdict(optimiser)},
        **fine.settings,
        "n_starts": n_starts,
        "sigma": measurement.sigma,
        "normalised": measurement.normalised,
        "seed": seed,
        "tissue": {
            "diffusivity": tissue.diffusivity.tolist(),
            # JSON has no infinity
            "T2": float(tissue.T2) if math.isfinite(tissue.T2) else "infinite",
            "spin_density": float(tissue.spin_density),
        },
        "versions": {name: version(name) for name in ("torrey", "torch", "numpy", "scipy")},
    }
