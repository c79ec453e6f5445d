"""`torrey connectome`: streamlines and labels → edges; a thin layer over `torrey.tractography.connectome`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import FileError, InputError
from ..terminal import Output, working

if TYPE_CHECKING:
    from torch import Tensor

    from ..tractography.connectomics import Assignment


def connectome(
    tracks: Path,
    labels: Path,
    /,
    *,
    output: Output,
    assignment: Literal["radial", "end", "reverse", "forward"] = "radial",
    distance: float | None = None,
    scale: Literal["length", "inverse-length"] | None = None,
    values: Path | None = None,
    weights: Path | None = None,
    statistic: Literal["sum", "mean", "min", "max"] = "sum",
    per_node_volume: bool = False,
    symmetric: bool = True,
    keep_unassigned: bool = False,
    zero_diagonal: bool = False,
    assignments: Path | None = None,
    report: Path | None = None,
) -> None:
    """Count the streamlines between every two nodes, as MRtrix's tck2connectome does.

    Parameters
    ----------
    tracks
        Streamlines.
    labels
        NIfTI image of nodes: whole numbers, 0 outside all of them.
    output
        .csv to write, a row for each node.
    assignment
        Which node an end has: the nearest within a radius, that of its voxel, the first back along the
        streamline, or the first ahead.
    distance
        How far to look, mm: 4 by default for radial, to the middle for reverse; forward needs it.
    scale
        Let each streamline contribute its length or the inverse, instead of 1.
    values
        Text file of what each streamline contributes, times --scale.
    weights
        Text file of how much each streamline counts, as of tcksift2.
    statistic
        How contributions become the number of an edge.
    per_node_volume
        Divide by the mean number of voxels of the two nodes.
    symmetric
        Both halves of the matrix, not the upper one only.
    keep_unassigned
        Write the ends without a node too, as first row and column.
    zero_diagonal
        Leave out edges from a node to itself.
    assignments
        .txt or .csv to write: the two nodes of each streamline.
    report
        .html to write: streamlines to turn and the matrix as a picture, one page without network.
    """
    from ..report.files import check_output_file

    inputs = (tracks, labels, values, weights)
    check_output_file(output, kinds=(".csv",), inputs=inputs)
    if assignments is not None:
        check_output_file(assignments, kinds=(".txt", ".csv"), inputs=(*inputs, output))
    if report is not None:
        check_output_file(report, kinds=(".html",), inputs=inputs)
    rule = _rule(assignment, distance)
    from ..text_files import format_number, naming, write_text
    from ..tractography import connectomics as edges
    from ..tractography.files import read_tractogram
    from ..tractography.orientation import read_image

    lines, (image, grid) = read_tractogram(tracks), read_image(labels, n_dimensions=3)
    with naming(labels):
        edges.Parcellation.from_image(image, grid.affine)
    contributions = _numbers(values, len(lines))
    if scale is not None:
        lengths = lines.lengths if scale == "length" else edges.inverse_lengths(lines)
        contributions = lengths if contributions is None else lengths * contributions
    with naming(tracks), working(f"assigning {len(lines)} streamlines"):
        nodes = edges.assign_nodes(lines, image, grid.affine, assignment=rule)
        matrix = edges.connectome(
            lines,
            image,
            grid.affine,
            assignment=edges.KnownNodes(nodes),
            values=contributions,
            weights=_numbers(weights, len(lines)),
            statistic=statistic,
            per_node_volume=per_node_volume,
            symmetric=symmetric,
            keep_unassigned=keep_unassigned,
            zero_diagonal=zero_diagonal,
        )
    if assignments is not None:
        write_text(assignments, "".join(f"{a} {b}\n" for a, b in nodes.tolist()))
    if report is not None:
        from ..report.tractogram_page import Edges, write_tractogram_page

        settings = {
            "streamlines": tracks,
            "labels": labels,
            "assignment": rule,
            "scale": scale or "none",
            "values": values or "none",
            "weights": weights or "none",
            "statistic": statistic,
            "per node volume": per_node_volume,
            "zero diagonal": zero_diagonal,
        }
        found_edges = Edges(nodes, matrix, keeps_unassigned=keep_unassigned)
        write_tractogram_page(report, lines, found_edges, settings=settings)
    write_text(output, "".join(",".join(map(format_number, row)) + "\n" for row in matrix.tolist()))
    found = int((nodes > 0).all(1).sum())
    print(f"{output}: {len(matrix)} nodes, {found} of {len(lines)} streamlines have one at both ends")


def _rule(name: str, distance: float | None) -> Assignment:
    from ..tractography.connectomics import EndVoxels, ForwardSearch, RadialSearch, ReverseSearch

    if name == "end":
        if distance is not None:
            raise InputError(
                f"distance is {distance}; --assignment end looks no further than the voxel of an end"
            )
        return EndVoxels()
    if name == "forward" and distance is None:
        raise InputError("distance is missing; --assignment forward needs --distance MM")
    if name == "forward" and distance is not None:
        return ForwardSearch(distance)
    search = RadialSearch if name == "radial" else ReverseSearch
    return search() if distance is None else search(distance)


def _numbers(path: Path | None, n_streamlines: int) -> Tensor | None:
    """Return the numbers (S,) of a text file, however they are laid out on lines."""
    if path is None:
        return None
    import torch

    from ..text_files import data_lines, number, read_text

    lines = data_lines(read_text(path))
    found = [number(path, line.number, "a value", word) for line in lines for word in line.words]
    if len(found) != n_streamlines:
        raise FileError(f"{path}: {len(found)} numbers; expected {n_streamlines}, one a streamline")
    return torch.tensor(found, dtype=torch.float64)
