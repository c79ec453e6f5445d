"""Streamlines as a function that PyTorch differentiates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .engines import Engine, Run
from .grow import Trajectories


def points_of(seeds: Tensor, step: Tensor, *, run: Run, engine: Engine, trajectories: Trajectories) -> Tensor:
    """Return the points (P, 3) of `trajectories`, differentiable in the image of the run, seeds and step.

    Of the way forward only the points are kept: `Engine.pull_back` computes the rest again.
    """
    points: Tensor = _Points.apply(run.rule.image, seeds, step, run, engine, trajectories)
    return points


class _Points(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any,
        image: Tensor,
        seeds: Tensor,
        step: Tensor,
        run: Run,
        engine: Engine,
        trajectories: Trajectories,
    ) -> Tensor:
        ctx.save_for_backward(image, seeds, step)
        ctx.run, ctx.engine, ctx.trajectories = run, engine, trajectories
        return trajectories.points.to(seeds.dtype)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        _, seeds, step = ctx.saved_tensors
        pulled = ctx.engine.pull_back(ctx.run, ctx.trajectories, cotangents[0].double())
        to_seeds = torch.zeros_like(seeds)
        to_seeds.index_add_(0, ctx.trajectories.seed_indices, pulled.seeds.to(seeds.dtype))
        return pulled.image, to_seeds, pulled.step.to(step), None, None, None
