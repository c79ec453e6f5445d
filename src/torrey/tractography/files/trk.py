"""TrackVis' `.trk`: a header of 1000 bytes, then for each streamline its number of points and the points.

Points are stored in voxels times voxel size from the corner of the image. nibabel knows the header and its
coordinates; the records are taken here, so that an error says at which byte.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes
from nibabel.streamlines.trk import get_affine_trackvis_to_rasmm, header_2_dtype

from ...errors import FileError
from ..grid import Grid

_HEADER = 1000


def parse_trk(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return points (P, 3) in mm, world RAS+, and the number of points (S,) of each streamline."""
    header = _header(path, content)
    n_values = 3 + int(header["nb_scalars_per_point"])
    n_properties = int(header["nb_properties_per_streamline"])
    n_words, rest = divmod(len(content) - _HEADER, 4)
    words = np.frombuffer(content, header.dtype["hdr_size"], n_words, _HEADER)
    counts: list[int] = []
    at = 0
    is_point = np.ones(n_words, bool)
    while at < n_words:
        count = int(words[at])
        end = at + 1 + count * n_values + n_properties
        if count < 0 or end > n_words:
            raise FileError(
                f"{path}: byte {_HEADER + 4 * at}: streamline {len(counts)} has {count} points, past the end "
                "of the file; is it cut short?"
            )
        is_point[at] = is_point[end - n_properties : end] = False
        counts.append(count)
        at = end
    said = int(header["nb_streamlines"])
    if rest or said not in (0, len(counts)):  # 0: the writer did not count
        raise FileError(f"{path}: holds {len(counts)} streamlines, {said} in its header; is it cut short?")
    values = words.view(header.dtype["voxel_sizes"].base)[is_point].reshape(-1, n_values)[:, :3]
    affine = get_affine_trackvis_to_rasmm(header).astype(np.float64)
    return values.astype(np.float64) @ affine[:3, :3].T + affine[:3, 3], np.array(counts, dtype=np.int64)


def trk_bytes(path: Path, points: np.ndarray, counts: np.ndarray, grid: Grid) -> bytes:
    """Return the content of a `.trk` file of version 2."""
    if max(grid.shape) > np.iinfo(np.int16).max:
        raise FileError(
            f"{path}: the image has {grid.shape} voxels; a .trk file holds up to 32767 along an axis"
        )
    affine = grid.affine.cpu().numpy()
    header = np.zeros((), header_2_dtype.newbyteorder("<"))
    header["magic_number"] = b"TRACK"
    header["dimensions"] = grid.shape
    header["voxel_sizes"] = grid.voxel_sizes.cpu().numpy()
    header["voxel_to_rasmm"] = affine
    header["voxel_order"] = "".join(aff2axcodes(affine)).encode()
    header["nb_streamlines"] = len(counts)
    header["version"], header["hdr_size"] = 2, _HEADER
    affine = get_affine_trackvis_to_rasmm(header).astype(np.float64)
    words = np.empty(len(counts) + 3 * len(points), "<f4")
    counted = np.arange(len(counts)) + 3 * (np.cumsum(counts) - counts)
    words.view("<i4")[counted] = counts
    is_point = np.ones(len(words), bool)
    is_point[counted] = False
    inverse = np.linalg.inv(affine)
    words[is_point] = (points @ inverse[:3, :3].T + inverse[:3, 3]).ravel()
    return header.tobytes() + words.tobytes()


def _header(path: Path, content: bytes) -> np.void:
    """Return the header; its type holds the byte order of the file."""
    if not content.startswith(b"TRACK") or len(content) < _HEADER:
        raise FileError(f"{path}: does not begin with 1000 bytes of header and 'TRACK'; expected a .trk file")
    readings = [np.frombuffer(content, header_2_dtype.newbyteorder(order), 1)[0] for order in ("<", ">")]
    header: np.void = next((h.copy() for h in readings if h["hdr_size"] == _HEADER), readings[0])
    extra = int(header["nb_scalars_per_point"]), int(header["nb_properties_per_streamline"])
    if header["hdr_size"] != _HEADER or min(extra) < 0:
        raise FileError(
            f"{path}: its header has hdr_size {header['hdr_size']}, {extra[0]} scalars, {extra[1]} properties"
            f"; expected {_HEADER} and none negative"
        )
    affine = header["voxel_to_rasmm"]
    if header["version"] < 2 or affine[3, 3] == 0 or not abs(np.linalg.det(affine)) > 0:
        raise FileError(f"{path}: its header has no vox_to_ras; expected TrackVis' version 2, with an affine")
    if not header["voxel_order"]:
        header["voxel_order"] = b"LPS"  # what TrackVis takes then
    return header
