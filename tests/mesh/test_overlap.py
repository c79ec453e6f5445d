import pytest
import torch

from torrey.errors import MeshError
from torrey.mesh import TetMesh, box, cylinder, sphere_in_box
from torrey.mesh.compartments import split_compartments


def side_by_side(first, second, *shift):
    """Return `first` as compartment 0 and `second`, moved, as compartment 1, with vertices of their own."""
    return TetMesh(
        torch.cat([first.vertices, second.vertices + torch.tensor(shift)]),
        torch.cat([first.tets, second.tets + first.n_vertices]),
        torch.cat([first.compartments, second.compartments + 1]),
    )


def mirrored(mesh, *signs):
    return TetMesh(mesh.vertices * torch.tensor(signs), mesh.tets)


def turned(mesh, angle):
    c, s = torch.tensor(angle).cos(), torch.tensor(angle).sin()
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return mesh.with_vertices(mesh.vertices @ turn.T)


def turned_ball():
    """Return a ball in a box whose ball is turned by a few degrees about z: a wall of two triangulations."""
    mesh = sphere_in_box(3.0, 9.0, resolution=3)
    split = split_compartments(mesh)
    x = mesh.vertices[split.parent]
    inner = torch.zeros(len(x), dtype=torch.bool)
    inner[split.tets[mesh.compartments == 0]] = True
    own = TetMesh(x, split.tets, mesh.compartments)
    return own.with_vertices(torch.where(inner[:, None], turned(own, 0.1).vertices, x))


CUBE = box((4.0, 4.0, 4.0), (2, 2, 2))
FINER = box((4.0, 4.0, 4.0), (3, 3, 3))


@pytest.mark.parametrize(
    ("mesh", "count"),
    [
        # hanging vertices: of 8 and 18 triangles of the wall all middles lie on the other side
        (side_by_side(CUBE, FINER, 4.0, 0.0, 0.0), 26),
        # the same vertices, other diagonals
        (side_by_side(CUBE, mirrored(CUBE, 1.0, -1.0, 1.0), 4.0, 0.0, 0.0), None),
        # only partly beside each other
        (side_by_side(CUBE, CUBE, 4.0, 1.0, 0.0), None),
        # overlapping by a nanometre, and by half
        (side_by_side(CUBE, CUBE, 3.999, 0.0, 0.0), 16),
        (side_by_side(CUBE, CUBE, 2.0, 0.5, 0.0), None),
        (turned_ball(), None),
    ],
    ids=["finer", "diagonals", "shifted", "nanometre", "half", "curved"],
)
def test_walls_of_other_triangles_are_an_error(mesh, count):
    with pytest.raises(MeshError, match=r"face\(s\) of a compartment .* compartments 0 and 1") as caught:
        split_compartments(mesh)
    assert "\n" not in str(caught.value)
    if count is not None:
        assert f"mesh: {count} face(s)" in str(caught.value)


@pytest.mark.parametrize(
    ("mesh", "n_interfaces"),
    [
        (side_by_side(CUBE, CUBE, 4.0, 0.0, 0.0), 8),
        (side_by_side(CUBE, mirrored(CUBE, -1.0, 1.0, 1.0), 4.0, 0.0, 0.0), 8),
        # a nanometre apart
        (side_by_side(CUBE, FINER, 4.001, 0.0, 0.0), 0),
        # an edge, and a point, in common
        (side_by_side(CUBE, FINER, 4.0, 4.0, 0.0), 0),
        (side_by_side(CUBE, FINER, 4.0, 4.0, 4.0), 0),
        # round walls whose gap is a hundredth of a radius
        (side_by_side(cylinder(2.0, 4.0), cylinder(2.0, 5.0), 4.08, 0.0, 0.0), 0),
        (sphere_in_box(3.0, 9.0, resolution=3), 432),
    ],
    ids=["beside", "mirrored", "apart", "edge", "point", "cylinders", "ball"],
)
def test_walls_that_match_or_are_apart_are_none(mesh, n_interfaces):
    assert len(split_compartments(mesh).interfaces) == n_interfaces
