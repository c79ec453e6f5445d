"""Tractogram files against the programs that users open them with: MRtrix, DIPY and nibabel."""

import shutil
import struct
import subprocess

import nibabel
import numpy as np
import pytest
import torch

from torrey.errors import FileError, InputError, MissingLibraryError
from torrey.tractography import Grid, Streamlines
from torrey.tractography.files import read_tractogram, write_tractogram

# oblique, axes swapped and mirrored, voxels of three sizes
AFFINE = torch.tensor(
    [[0.1, -1.7, 0.3, 40.0], [0.2, 0.25, 2.4, -60.0], [1.9, 0.1, -0.2, -30.0], [0, 0, 0, 1]],
    dtype=torch.float64,
)
GRID = Grid((40, 50, 30), AFFINE)
mrtrix = pytest.mark.skipif(shutil.which("tckinfo") is None, reason="MRtrix is not installed")


def walks(n=25, seed=0):
    """Return curves of 2 … 60 points of unequal steps within the image, rounded to float32."""
    generator = torch.Generator().manual_seed(seed)
    curves = []
    for _ in range(n):
        steps = torch.randn(
            int(torch.randint(2, 60, (), generator=generator)), 3, generator=generator, dtype=torch.float64
        )
        start = GRID.to_world(torch.rand(3, generator=generator, dtype=torch.float64) * 20 + 5)
        curves.append((start + 0.3 * steps.cumsum(0)).float().double())
    return Streamlines.from_list(curves)


def run(*words):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True).stdout


def assert_same(read, expected, atol):
    assert len(read) == len(expected)
    for ours, theirs in zip(expected, read, strict=True):
        np.testing.assert_allclose(np.asarray(theirs), ours, rtol=0, atol=atol)


# .tck and .trx hold world coordinates in float32, which the walks are; .trk scales and turns them, and rounds
# numbers of up to 100 mm to 1e-5
FORMATS = [(".tck", 0.0), (".trk", 1e-4), (".trx", 0.0)]


@pytest.mark.parametrize(("suffix", "atol"), FORMATS)
def test_reads_back_what_it_wrote(tmp_path, suffix, atol):
    tracks = walks()
    write_tractogram(tmp_path / f"a{suffix}", tracks, grid=GRID)
    read = read_tractogram(tmp_path / f"a{suffix}")
    assert torch.equal(read.offsets, tracks.offsets)
    assert_same(read, tracks, atol)
    assert list(tmp_path.iterdir()) == [tmp_path / f"a{suffix}"]


@pytest.mark.parametrize(("suffix", "atol"), FORMATS[:2])
def test_nibabel_reads_what_is_written_and_is_read(tmp_path, suffix, atol):
    ours, theirs = tmp_path / f"ours{suffix}", tmp_path / f"theirs{suffix}"
    tracks = walks()
    write_tractogram(ours, tracks, grid=GRID, fields={"step_size": 0.3})
    loaded = nibabel.streamlines.load(ours)
    assert_same(loaded.streamlines, tracks, atol)
    nibabel.streamlines.save(loaded, theirs)
    assert_same(read_tractogram(theirs), tracks, atol)


def test_trk_with_scalars_and_properties_in_another_voxel_order(tmp_path):
    tracks = walks()
    tractogram = nibabel.streamlines.Tractogram(
        [curve.numpy().astype("f4") for curve in tracks],
        data_per_streamline={"weight": np.arange(len(tracks))[:, None]},
        data_per_point={"values": [np.ones((len(curve), 2)) for curve in tracks]},
        affine_to_rasmm=np.eye(4),
    )
    header = {"voxel_to_rasmm": AFFINE.numpy(), "dimensions": GRID.shape}
    header |= {"voxel_sizes": GRID.voxel_sizes.numpy(), "voxel_order": "RAS"}
    path = tmp_path / "a.trk"
    nibabel.streamlines.save(tractogram, path, header=header)
    assert_same(read_tractogram(path), tracks, 1e-4)


def test_big_endian_trk(tmp_path):
    path = tmp_path / "a.trk"
    write_tractogram(path, walks(), grid=GRID)
    content = path.read_bytes()
    header = np.frombuffer(content[:1000], nibabel.streamlines.trk.header_2_dtype)
    turned = header.byteswap().tobytes() + np.frombuffer(content[1000:], "<i4").byteswap().tobytes()
    path.write_bytes(turned)
    assert_same(nibabel.streamlines.load(path).streamlines, walks(), 1e-4)
    assert_same(read_tractogram(path), walks(), 1e-4)


def test_big_endian_float64_tck(tmp_path):
    rows = np.array([[1, 2, 3.5], [4, 5, 6], [np.nan] * 3, [7, 8, 9], [np.nan] * 3, [np.inf] * 3], ">f8")
    header = b"mrtrix tracks\ndatatype: Float64BE\ncount: 2\nfile: . 80\nEND\n".ljust(80)
    (tmp_path / "a.tck").write_bytes(header + rows.tobytes())
    assert_same(read_tractogram(tmp_path / "a.tck"), [rows[:2], rows[3:4]], 0)


@mrtrix
def test_mrtrix_reads_tck(tmp_path):
    tracks = walks()
    path = tmp_path / "a.tck"
    write_tractogram(path, tracks, fields={"step_size": 0.3, "method": "SDStream"})
    said = run("tckinfo", "-count", path)
    assert "step_size:            0.3" in said
    assert f"actual count in file: {len(tracks)}" in said
    run("tckstats", "-quiet", path, "-dump", tmp_path / "lengths.txt")
    # tckstats sums in float32
    np.testing.assert_allclose(np.loadtxt(tmp_path / "lengths.txt"), tracks.lengths, rtol=1e-5)
    run("tckconvert", "-quiet", path, tmp_path / "a-[].txt")
    for i, curve in enumerate(tracks):
        theirs = np.loadtxt(tmp_path / f"a-{i:07d}.txt", ndmin=2)
        np.testing.assert_allclose(theirs, curve, rtol=1e-5)  # six digits are printed
    run("tckedit", "-quiet", path, tmp_path / "theirs.tck")
    assert_same(read_tractogram(tmp_path / "theirs.tck"), tracks, 0)


@pytest.mark.parametrize(("suffix", "atol"), FORMATS)
def test_dipy_reads_it(tmp_path, suffix, atol):
    io = pytest.importorskip("dipy.io.streamline")
    if suffix == ".trx":
        pytest.importorskip("trx")
    image = nibabel.Nifti1Image(np.zeros(GRID.shape, np.uint8), AFFINE.numpy())
    write_tractogram(tmp_path / f"a{suffix}", walks(), grid=GRID)
    for reference in ["same", image][suffix == ".tck" :]:  # "same": the file knows its image
        loaded = io.load_tractogram(str(tmp_path / f"a{suffix}"), reference)
        loaded.to_rasmm()
        assert_same(loaded.streamlines, walks(), max(atol, 1e-4))  # DIPY goes to voxels and back in float32
        assert tuple(loaded.dimensions) == GRID.shape
        np.testing.assert_allclose(loaded.affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("suffix", [".tck", ".trk", ".trx"])
def test_no_streamlines(tmp_path, suffix):
    write_tractogram(tmp_path / f"a{suffix}", Streamlines.from_list([]), grid=GRID)
    assert len(read_tractogram(tmp_path / f"a{suffix}")) == 0


@pytest.mark.parametrize("suffix", [".tck", ".trk"])
def test_streamlines_without_points_keep_their_place(tmp_path, suffix):
    tracks = Streamlines.from_list([torch.ones(2, 3), torch.ones(0, 3), torch.ones(1, 3)])
    write_tractogram(tmp_path / f"a{suffix}", tracks, grid=GRID)
    assert read_tractogram(tmp_path / f"a{suffix}").n_points.tolist() == [2, 0, 1]


def damaged(path, change):
    """Write the walks, and again with their bytes changed."""
    write_tractogram(path, walks(), grid=GRID)
    path.write_bytes(change(path.read_bytes()))


TCK_DAMAGE = {
    "cut within a point": (lambda c: c[:-5], r"ends at byte \d+ without the row of infinities"),
    "cut after a point": (lambda c: c[:-24], r"ends at byte \d+ without the row of infinities"),
    "cut in the header": (lambda c: c[:40], "no line END"),
    "another format": (lambda c: b"solid" + c, "does not begin with 'mrtrix tracks'"),
    "empty": (lambda c: b"", "is empty"),
    "count": (lambda c: c.replace(b"count: 25", b"count: 26"), "count is '26' .* holds 25 streamlines"),
    "type": (lambda c: c.replace(b"Float32LE", b"Int16LE"), "datatype is 'Int16LE'"),
    "another file": (lambda c: c.replace(b"file: . ", b"file: b "), "file is 'b "),
    "no break at the end": (lambda c: c[:-24] + c[-12:], r"byte \d+: the file ends within a streamline"),
    "infinite point": (
        lambda c: c[:-36] + struct.pack("<3f", 1, np.inf, 2) + c[-24:],
        r"streamline 24: point \d+ is 1 inf 2; expected finite",
    ),
}


@pytest.mark.parametrize(("change", "message"), TCK_DAMAGE.values(), ids=TCK_DAMAGE)
def test_a_damaged_tck_is_told(tmp_path, change, message):
    path = tmp_path / "a.tck"
    damaged(path, change)
    with pytest.raises(FileError, match=f"a.tck: .*{message}") as told:
        read_tractogram(path)
    assert "\n" not in str(told.value)


def with_field(offset, form, value):
    return lambda c: c[:offset] + struct.pack(form, value) + c[offset + struct.calcsize(form) :]


TRK_DAMAGE = {
    "cut": (lambda c: c[:-5], r"byte \d+: streamline 24 has \d+ points, past the end"),
    "cut between streamlines": (with_field(988, "<i", 30), "holds 25 streamlines, 30 in its header"),
    "cut in the header": (lambda c: c[:400], "does not begin with 1000 bytes"),
    "another format": (
        lambda c: b"mrtrix tracks" + c,
        "does not begin with 1000 bytes of header and 'TRACK'",
    ),
    "version": (with_field(992, "<i", 1), "no vox_to_ras"),
    "header": (with_field(996, "<i", 7), "hdr_size"),
    "no affine": (with_field(500, "<f", 0.0), "no vox_to_ras"),
    "count of points": (with_field(1000, "<i", -4), "byte 1000: streamline 0 has -4 points"),
    "point": (with_field(1004, "<f", float("nan")), "streamline 0: point 0 is nan"),
}


@pytest.mark.parametrize(("change", "message"), TRK_DAMAGE.values(), ids=TRK_DAMAGE)
def test_a_damaged_trk_is_told(tmp_path, change, message):
    path = tmp_path / "a.trk"
    damaged(path, change)
    with pytest.raises(FileError, match=f"a.trk: .*{message}") as told:
        read_tractogram(path)
    assert "\n" not in str(told.value)


def test_a_damaged_trx_is_told(tmp_path):
    damaged(tmp_path / "a.trx", lambda c: c[:-30])
    with pytest.raises(FileError, match=r"a.trx: is not a whole .trx file"):
        read_tractogram(tmp_path / "a.trx")


def test_other_paths_are_told(tmp_path):
    with pytest.raises(FileError, match=r"extension is '.vtk'; expected .tck, .trk or .trx"):
        read_tractogram(tmp_path / "a.vtk")
    with pytest.raises(FileError, match=r"a.tck: no such file"):
        read_tractogram(tmp_path / "a.tck")
    (tmp_path / "folder.tck").mkdir()
    with pytest.raises(FileError, match="cannot be read"):
        read_tractogram(tmp_path / "folder.tck")
    with pytest.raises(FileError, match="cannot be written"):
        write_tractogram(tmp_path / "none" / "a.tck", walks())
    with pytest.raises(FileError, match="cannot be written"):
        write_tractogram(tmp_path / "folder.tck", walks())
    assert [path.name for path in tmp_path.iterdir()] == ["folder.tck"]


def test_what_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match=r"\.trk needs the grid of the image"):
        write_tractogram(tmp_path / "a.trk", walks())
    bad = Streamlines.from_list([torch.zeros(3, 3), torch.tensor([[torch.nan, 0, 0]])])
    with pytest.raises(InputError, match="streamline 1: point 0 is nan 0 0"):
        write_tractogram(tmp_path / "a.tck", bad)
    with pytest.raises(InputError, match="streamline 0: point 0 is inf 0 0"):
        write_tractogram(tmp_path / "a.tck", Streamlines.from_list([torch.tensor([[1e60, 0, 0]]).double()]))
    for fields in ({"count": 3}, {"a:b": 1}, {"a": "b\nEND"}, {"": 1}):
        with pytest.raises(InputError, match="expected one line"):
            write_tractogram(tmp_path / "a.tck", walks(), fields=fields)
    gap = Streamlines.from_list([torch.ones(2, 3), torch.ones(0, 3)])
    with pytest.raises(InputError, match=r"streamline 1 has no point"):
        write_tractogram(tmp_path / "a.trx", gap, grid=GRID)
    assert not list(tmp_path.iterdir())


def test_trx_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trx.trx_file_memmap", None)
    with pytest.raises(MissingLibraryError, match=r"torrey\[trx\]"):
        write_tractogram(tmp_path / "a.trx", walks(), grid=GRID)
