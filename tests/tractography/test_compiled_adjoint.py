"""The compiled adjoint against central differences and against what is known of parabolas."""

import numpy as np
import pytest
import torch
from compiled_fields import fibres_along, image_of, quadratic_forms, settings, voxel_centres

from torrey.tractography.propagation.compiled import grow, pull_back

SHAPE = (8, 7, 6)


def bending(degree, towards):
    """Return an image whose fibres point `towards` the same side, bending, with noise."""
    noise = np.random.default_rng(1)
    directions = np.asarray(towards) + 0.25 * noise.standard_normal((np.prod(SHAPE), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = fibres_along(directions, degree)
    return image_of(values + 0.003 * noise.standard_normal(values.shape), SHAPE)


def middle_seeds(n):
    spots = np.random.default_rng(2).uniform(-2.0, 2.0, (n, 3))
    return voxel_centres(SHAPE).mean(0) + spots


def weighed(image, seeds, towards, chosen, weights):
    grown = grow(image, seeds, np.tile(towards, (len(seeds), 1)), chosen)
    assert len(grown.points) == len(weights), "a stopping event lies within the difference"
    return (grown.points * weights).sum()


POLE, OBLIQUE = (0.0, 0.0, 1.0), (0.6, -0.5, 0.62)


@pytest.mark.parametrize("rk4", [False, True])
@pytest.mark.parametrize(("degree", "towards"), [(8, OBLIQUE), (8, POLE), (4, POLE)])
def test_central_differences(degree, towards, rk4):
    image, seeds, chosen = bending(degree, towards), middle_seeds(6), settings(rk4=rk4, most_points=14)
    rng = np.random.default_rng(3)
    grown = grow(image, seeds, np.tile(towards, (6, 1)), chosen)
    assert len(grown.points) > 60
    weights = rng.standard_normal(grown.points.shape)
    gradients = pull_back(image, grown, weights, step=chosen.step, rk4=rk4)

    def difference(change, size):
        return (change(size) - change(-size)) / (2 * size)

    turn = rng.standard_normal(image.values.shape)
    by_values = difference(
        lambda e: weighed(image._replace(values=image.values + e * turn), seeds, towards, chosen, weights),
        1e-6,
    )
    shift = rng.standard_normal(seeds.shape)
    by_seeds = difference(lambda e: weighed(image, seeds + e * shift, towards, chosen, weights), 1e-5)
    by_step = difference(
        lambda e: weighed(image, seeds, towards, chosen._replace(step=chosen.step + e), weights), 1e-5
    )
    # differences of these sizes are good to some 1e-7 of their value
    assert (gradients.values * turn).sum() == pytest.approx(by_values, rel=1e-5)
    assert (gradients.seeds * shift).sum() == pytest.approx(by_seeds, rel=1e-5)
    assert gradients.step == pytest.approx(by_step, rel=1e-5)


def test_parabolas_keep_their_parameter():
    # the first axis of [[x, y], [y, −x]] runs along parabolas about the origin, where r − x is constant
    x, y, _ = (voxel_centres(SHAPE) - [-9.0, 2.0, 3.0]).T
    zero = np.zeros_like(x)
    matrices = np.stack([[x, y, zero], [y, -x, zero], [zero, zero, zero - 20]]).transpose(2, 0, 1)
    image = image_of(quadratic_forms(matrices, 8), SHAPE)
    seeds = middle_seeds(5)
    chosen = settings(rk4=True, unidirectional=True, most_points=8)
    grown = grow(image, seeds, np.tile([1.0, 0.1, 0.0], (5, 1)), chosen)
    assert len(grown.offsets) == 6

    def parameter(points):
        dx, dy = (points - [-9.0, 2.0, 3.0])[..., :2].T
        r = np.hypot(dx, dy)
        return r - dx, np.stack([dx / r - 1, dy / r, 0 * r], 1)

    ends = grown.offsets[1:] - 1
    at_ends, slopes = parameter(grown.points[ends])
    at_seeds, expected = parameter(seeds)
    # RK4 errs by the fourth power of the step over the radius of curvature
    np.testing.assert_allclose(at_ends, at_seeds, atol=1e-5)
    cotangents = np.zeros_like(grown.points)
    cotangents[ends] = slopes
    gradients = pull_back(image, grown, cotangents, step=chosen.step, rk4=True)
    np.testing.assert_allclose(gradients.seeds, expected, atol=1e-4)
    assert abs(gradients.step) < 1e-3


def test_the_number_of_threads_does_not_matter():
    image, seeds = bending(4, OBLIQUE), middle_seeds(200)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            grown = grow(image, seeds, np.tile(OBLIQUE, (200, 1)), settings())
            results.append((grown, pull_back(image, grown, grown.points, step=0.5, rk4=False)))
    finally:
        torch.set_num_threads(threads)
    (one, back_one), (two, back_two) = results
    np.testing.assert_array_equal(one.points, two.points)
    np.testing.assert_array_equal(back_one.values, back_two.values)
    assert back_one.step == back_two.step


def test_single_precision_agrees():
    image, seeds = bending(8, OBLIQUE), middle_seeds(6)
    halves = {name: getattr(image, name).astype(np.float32) for name in ("values", "elevations")}
    single = image._replace(**halves)
    chosen, towards = settings(most_points=14), np.tile(OBLIQUE, (6, 1))
    precise, coarse = grow(image, seeds, towards, chosen), grow(single, seeds, towards, chosen)
    # rounding of 6e-8 over the curvature of a peak, a few times over
    np.testing.assert_allclose(coarse.points, precise.points, atol=1e-5)
    weights = np.random.default_rng(3).standard_normal(precise.points.shape)
    exact = pull_back(image, precise, weights, step=0.5, rk4=False)
    rounded = pull_back(single, coarse, weights, step=0.5, rk4=False)
    assert rounded.values.dtype == np.float32
    np.testing.assert_allclose(rounded.values, exact.values, atol=1e-4 * np.abs(exact.values).max())
    np.testing.assert_allclose(rounded.seeds, exact.seeds, atol=1e-4 * np.abs(exact.seeds).max())
