"""The numbers and sentences of a report."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..inverse.result import Posterior, Reconstruction
from .numerals import duration, significant
from .surface_data import boundary, principal_frame

CITATION = (
    "The Torrey developers. Torrey: differentiable diffusion MRI in PyTorch (software).",
    "Mesh from signal through a differentiable simulator: ReMiDi, arXiv 2502.01988 (2025).",
    "PGSE sequence and b-value: E. O. Stejskal, J. E. Tanner, J. Chem. Phys. 42, 288 (1965).",
)


def headline(reconstruction: Reconstruction) -> list[tuple[str, str]]:
    """Return the figures of a run as (name, value with unit)."""
    mesh = reconstruction.mesh
    return [
        ("misfit", f"{significant(reconstruction.misfit)} of S(0), rms"),
        ("volume", f"{significant(float(mesh.volume.detach()), 4)} µm³"),
        ("surface", f"{significant(float(mesh.surface_area.detach()), 4)} µm²"),
        ("extent along the longest axis", f"{significant(longest_extent(reconstruction), 4)} µm"),
        ("wall time", duration(reconstruction.seconds)),
        ("stopped because", reconstruction.stop_reason),
    ]


def longest_extent(reconstruction: Reconstruction) -> float:
    """Return the extent of the surface along its longest principal axis, µm."""
    vertices, triangles, _ = boundary(reconstruction)
    along = vertices @ principal_frame(vertices, triangles).axes[0]
    return float(along.max() - along.min())


def uncertainty_sentences(posterior: Posterior) -> str:
    """Return in words how well the directions are determined and where σ comes from."""
    sigmas = posterior.standard_deviations.detach().cpu().numpy()
    total = len(sigmas)
    fine, fair = int((sigmas < 0.1).sum()), int((sigmas < 0.3).sum())
    text = (
        f"Of {total} independent directions of change of the shape, {fine} are determined better than 0.1 µm "
        f"and {fair} better than 0.3 µm (one standard deviation of the root-mean-square displacement of the "
        "surface)."
    )
    if fair < total:
        text += (
            f" The data leave {total - fair} open at 0.3 µm: there the reconstruction rests "
            "on the shape model."
        )
    return text + (
        f" One measurement is taken to be uncertain by σ = {significant(posterior.sigma)} of S(0): "
        f"noise {significant(posterior.noise_sigma)} and model error {significant(posterior.model_sigma)}."
    )


def versions(reconstruction: Reconstruction) -> dict[str, str]:
    """Return the versions recorded with the run, completed by those in use now."""
    names = ("torrey", "torch", "numpy", "scipy")
    installed = {name: _version(name) for name in names} | {"python": platform.python_version()}
    recorded = reconstruction.settings.get("versions", {})
    return installed | {str(key): str(value) for key, value in recorded.items()}


def flat_settings(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, value) of nested `settings`, without the versions."""
    for key, value in settings.items():
        if key == "versions":
            continue
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", text) for inner, text in flat_settings(value))
        else:
            yield str(key), _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not set"}[value]
    if isinstance(value, float):
        return significant(value, 4)
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"


def real(signal: Any) -> np.ndarray:
    """Return the real part of a signal tensor (N,) as float64: PGSE signals of a uniform medium are real."""
    array = np.asarray(signal.detach().cpu().numpy())
    return array.real.astype(float)
