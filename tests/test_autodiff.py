import subprocess
import sys

import torch

from torrey.autodiff import jacobian, pushforward
from torrey.shape import Tube


def test_pushforward_is_that_of_forward_mode():
    def outputs(x):
        return x.sin().outer(x), (x**3).sum()

    generator = torch.Generator().manual_seed(0)
    x, tangents = (torch.randn(*n, generator=generator, dtype=torch.float64) for n in ((4,), (3, 4)))
    ours = pushforward(outputs, x, tangents)
    for k, tangent in enumerate(tangents):
        _, expected = torch.func.jvp(outputs, (x,), (tangent,))
        for one, two in zip(ours, expected, strict=True):
            torch.testing.assert_close(one[k], two, rtol=1e-13, atol=1e-13)


def test_jacobian_of_a_tube():
    tube = Tube(n_control=5, n_radius=5, n_rings=1, n_layers=6)
    latent = tube.straight(length=9.0, radius=1.5, direction=(1.0, 2.0, 3.0))
    expected = torch.func.jacfwd(tube.vertices)(latent).permute(2, 0, 1)
    torch.testing.assert_close(jacobian(tube.vertices, latent), expected, rtol=1e-12, atol=1e-12)


def test_it_does_not_wait_for_a_compiler():
    code = (
        "import sys, torch; from torrey.autodiff import jacobian; from torrey.shape import Tube; "
        "tube = Tube(); jacobian(tube.vertices, tube.straight(length=9.0, radius=1.5)); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
