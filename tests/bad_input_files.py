"""Files, good and bad, for the table of bad inputs: small texts, and a mesh of another program."""

from pathlib import Path

import numpy as np

HEADER = "gx\tgy\tgz\tbval\tsmall_delta\tbig_delta\techo_time"
ROWS = (
    "0\t0\t0\t0\t5\t20\t25",
    "1\t0\t0\t1000\t5\t20\t25",
    "0\t0.6\t0.8\t2000\t5\t20\t25",
)


def protocol(*rows: str, header: str = HEADER) -> str:
    """Return a protocol TSV of `rows`, by default the good ones."""
    return "\n".join([header, *(rows or ROWS), ""])


def signals(*values: str, first: str = "# normalised: true", rows: tuple[str, ...] = ROWS) -> str:
    """Return a signal TSV with one of `values` a row, by default good ones."""
    lines = [f"{row}\t{value}" for row, value in zip(rows, values or ("1", "0.7", "0.5"), strict=True)]
    return "\n".join([*([first] if first else []), f"{HEADER}\tsignal", *lines, ""])


def scheme(*rows: str, version: str = "VERSION: STEJSKALTANNER") -> str:
    """Return a Camino scheme file."""
    return "\n".join([version, *rows, ""])


def tetgen(nodes: list[tuple[float, float, float]], tets: list[tuple[int, int, int, int]]) -> dict[str, str]:
    """Return a 0-based TetGen pair named `pair`."""
    node = [f"{len(nodes)} 3 0 0", *(f"{i} {x} {y} {z}" for i, (x, y, z) in enumerate(nodes))]
    ele = [f"{len(tets)} 4 0", *(f"{i} {a} {b} {c} {d}" for i, (a, b, c, d) in enumerate(tets))]
    return {"pair.node": "\n".join([*node, ""]), "pair.ele": "\n".join([*ele, ""])}


# a double pyramid of two tets over the triangle 0 1 2
NODES = [(0.0, 0.0, 0.0), (4.0, 0.0, 0.0), (0.0, 4.0, 0.0), (1.0, 1.0, 4.0), (1.0, 1.0, -4.0)]
TETS = [(0, 1, 2, 3), (0, 2, 1, 4)]


def unmatched() -> dict[str, str]:
    """Return a TetGen pair of two compartments, one tet above a triangle that is cut in two below."""
    below = [(0, 0, 0), (4, 0, 0), (2, 2, 0), (0, 4, 0), (1, 1, -4)]
    nodes = [(0, 0, 0), (4, 0, 0), (0, 4, 0), (1, 1, 4), *below]
    node = [f"{len(nodes)} 3 0 0", *(f"{i} {x} {y} {z}" for i, (x, y, z) in enumerate(nodes))]
    tets = [(0, 1, 2, 3, 1), (4, 6, 5, 8, 2), (4, 7, 6, 8, 2)]
    ele = [f"{len(tets)} 4 1", *(" ".join(map(str, (i, *row))) for i, row in enumerate(tets))]
    return {"pair.node": "\n".join([*node, ""]), "pair.ele": "\n".join([*ele, ""])}


SWC = ("1 1 0 0 0 3 -1", "2 3 5 0 0 1 1", "3 3 9 0 0 0.5 2")


def swc(*rows: str) -> dict[str, str]:
    """Return an SWC file of `rows`, by default the good ones."""
    return {"tree.swc": "\n".join([*(rows or SWC), ""])}


PULSEQ = """[VERSION]
major 1
minor 5
revision 0

[DEFINITIONS]
AdcRasterTime 1e-07
BlockDurationRaster 1e-05
GradientRasterTime 1e-05
RadiofrequencyRasterTime 1e-06

[BLOCKS]
1  50   1   0   0   0  0  0
2 500   0   0   0   0  0  0
3  50   2   0   0   0  0  0
4 900   0   0   0   0  0  0

[RF]
1  625 1 2 3 200 100 0 0 0 0 e
2 1250 1 2 3 200 100 0 0 0 0 r

[SHAPES]

shape_id 1
num_samples 2
1
1

shape_id 2
num_samples 2
0
0

shape_id 3
num_samples 2
0
400

"""
"""A spin echo without gradients."""

CUBE_FACES = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]


def cube_surface(n_faces: int) -> str:
    """Return a cube of 4 µm as OFF, the last `6 − n_faces` faces left out."""
    corners = [f"{4 * (i & 1)} {2 * (i & 2)} {i & 4}" for i in range(8)]
    triangles = [f"3 {a} {b} {c}\n3 {a} {c} {d}" for a, b, c, d in CUBE_FACES[:n_faces]]
    return "\n".join(["OFF", f"8 {2 * n_faces} 0", *corners, *triangles, ""])


def folded() -> dict[str, str]:
    """Return SpinDoctor's cylinder folded by too strong a twist; six tets are inverted."""
    data = np.load(Path(__file__).parent / "mesh" / "data" / "spindoctor_meshes.npz")
    return tetgen([tuple(p) for p in data["folded"]], [tuple(t) for t in data["cylinder_tets"]])


GOOD = {
    "acq.tsv": protocol(),
    "signals.tsv": signals(),
    "tissue.toml": "diffusivity = 2.0\n",
    **tetgen(NODES, TETS),
    **swc(),
    "cube.off": cube_surface(6),
}
"""What is there in every case, unless the case replaces it."""
