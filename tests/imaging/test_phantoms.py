"""Phantoms: reproducible, readable, honest about what curation keeps, and physically plausible."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pydicom
import pytest
from dicom_files import header_of

from mricore.config.curation import Curation
from mricore.imaging.deidentify import frame_of
from mricore.imaging.geometry import distance_along, normal, plane
from mricore.imaging.headers import FrameHeader
from mricore.imaging.phantoms.anatomy import ANATOMIES, labels_at
from mricore.imaging.phantoms.collection import CollectionSpec, hash_seed, write_collection
from mricore.imaging.phantoms.tissues import Timing, Tissue, signals
from mricore.imaging.phantoms.volume import AXES, centered_grid, phantom_volume
from mricore.imaging.pixels import read_pixels
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.selection import allowed_series, series_of
from mricore.imaging.sequences import sequence_type, vendor
from mricore.imaging.volumes import build_volumes
from mricore.records import Reason

SPEC = CollectionSpec(patients=4, matrix=64, slices=6)
POLICY = Curation(min_pixels=32)
UPRIGHT = np.zeros(3, np.float32)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "a"
    return folder, write_collection(folder, SPEC)


@pytest.fixture(scope="module")
def headers(collection):
    """Headers by the folder of their series, in the order of their names."""
    folder, written = collection
    found = {}
    for series in written:
        paths = sorted((folder / series.path).iterdir())
        found[series.path] = [header_of(path.read_bytes(), str(path)) for path in paths]
    return found


def kept_of(headers):
    """What curation keeps of headers."""
    pseudonymizer = Pseudonymizer(b"k" * 32)
    return [frame_of(header, number, POLICY, pseudonymizer) for number, header in enumerate(headers)]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_spec_gives_the_same_bytes_twice(collection, tmp_path):
    folder, written = collection
    again = write_collection(tmp_path / "b", SPEC)
    assert again == written
    assert contents(tmp_path / "b") == contents(folder)


def test_another_seed_gives_other_pixels_and_other_identifiers(collection, tmp_path):
    folder, _ = collection
    write_collection(tmp_path / "b", CollectionSpec(patients=1, matrix=64, slices=6, seed=1))
    path = "DICOM/P0000/ST0001/SE0002/IM000001"
    first, second = (pydicom.dcmread(root / path) for root in (folder, tmp_path / "b"))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.PixelData != second.PixelData


def test_the_folder_holds_exactly_what_is_reported(collection):
    folder, written = collection
    files = contents(folder)
    assert len(files) == sum(series.files for series in written)
    for series in written:
        assert series.files == sum(name.startswith(f"{series.path}/") for name in files)
    assert [path.name for path in folder.parent.iterdir()] == ["a"]


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    def fail(done, total):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_collection(tmp_path / "a", CollectionSpec(patients=1, matrix=32, slices=2), fail)
    assert not list(tmp_path.iterdir())


def test_progress_counts_patients(tmp_path):
    said = []
    spec = CollectionSpec(patients=1, matrix=32, slices=2)
    write_collection(tmp_path / "a", spec, lambda *counts: said.append(counts))
    assert said == [(1, 2), (2, 2)]


def test_every_file_is_read(headers):
    for members in headers.values():
        for header in members:
            assert isinstance(header, FrameHeader)
            with open(header.uri, "rb") as stream:  # noqa: PTH123
                (pixels,) = read_pixels(stream)
            assert pixels.shape == (header.rows, header.columns)
            assert pixels.max() > pixels.min()


def test_three_vendors_and_three_encodings_occur(collection, headers):
    _, written = collection
    assert {vendor(members[0]).value for members in headers.values()} == {"siemens", "ge", "philips"}
    folder, _ = collection
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("IM*")]
    assert len({image.file_meta.TransferSyntaxUID for image in files}) == 3
    assert {series.location for series in written} == set(ANATOMIES)


def test_curation_decides_as_expected(collection, headers):
    _, written = collection
    frames = {path: kept_of(members) for path, members in headers.items()}
    exams = defaultdict(list)
    for members in frames.values():
        for series in series_of(members):
            exams[series.exam_id].append(series)
    allowed = {series.series_id for exam in exams.values() for series in allowed_series(exam, POLICY)[0]}
    for series in written:
        (reason,) = {frame.reason for frame in frames[series.path]}
        if not reason:
            in_dataset = frames[series.path][0].series_id in allowed
            reason = "kept" if in_dataset else Reason.FACIAL_ANATOMY
        assert (series.path, str(reason)) == (series.path, series.expected)
    assert {"kept", "facial_anatomy", "localizer"} <= {series.expected for series in written}


def test_sequence_and_plane_are_recognized(collection, headers):
    _, written = collection
    for series in written:
        header = headers[series.path][0]
        assert plane(header.orientation) == series.plane
        if series.sequence not in ("localizer", "multi-echo"):
            assert sequence_type(header).value == series.sequence


def test_positions_are_evenly_spaced_and_echoes_share_them(collection, headers):
    _, written = collection
    for series in written:
        by_echo = defaultdict(list)
        for header in headers[series.path]:
            by_echo[header.echo_time].append(distance_along(normal(header.orientation), header.position))
        first = next(iter(by_echo.values()))
        steps = [after - before for before, after in pairwise(first)]
        assert len(steps) >= 2
        assert np.allclose(steps, steps[0], atol=1e-3)
        assert abs(steps[0]) > 1
        assert all(np.allclose(places, first) for places in by_echo.values())
        assert len(by_echo) == (3 if series.sequence == "multi-echo" else 1)


def test_every_kept_series_becomes_volumes(collection, headers):
    _, written = collection
    kept = [series for series in written if series.expected == "kept"]
    members = [header for series in kept for header in headers[series.path]]
    volumes, tally = build_volumes(kept_of(members), Curation(min_slices=3))
    assert not tally
    assert len(volumes) == sum(3 if series.sequence == "multi-echo" else 1 for series in kept)
    assert sum(len(volume.frames) for volume in volumes) == len(members)


@pytest.mark.parametrize("location", ANATOMIES)
def test_the_same_point_has_the_same_tissue_in_two_scans(location):
    axial = centered_grid("axial", (20, 40, 40), 160, 4, UPRIGHT)
    oblique = centered_grid("coronal", (12, 48, 36), 150, 5, np.array([0.1, -0.2, 0.05], np.float32))
    points = axial.points()
    labels = labels_at(points, location, seed=5)
    rng = np.random.default_rng(0)
    picked = rng.permutation(points[0].size)[:500]
    alone = labels_at(points.reshape(3, -1)[:, picked], location, seed=5)
    assert np.array_equal(alone, labels.ravel()[picked])
    assert len(np.unique(labels)) >= 4
    assert labels_at(oblique.points(), location, seed=5).shape == oblique.shape
    # Voxels of the oblique scan whose nearest axial voxel is near have the tissue of that voxel, mostly.
    flat, found = oblique.points().reshape(3, -1), labels_at(oblique.points(), location, seed=5).ravel()
    index = np.rint((flat - axial.origin[:, None]) / np.array([[4.0], [4.0], [4.0]])).astype(int)
    inside = ((index >= 0) & (index < np.array([[40], [40], [20]]))).all(axis=0)
    x, y, z = index[:, inside]
    assert inside.sum() > 1000
    assert (labels[z, y, x] == found[inside]).mean() > 0.7


@pytest.mark.parametrize("location", ANATOMIES)
def test_two_people_differ(location):
    points = centered_grid("axial", (6, 48, 48), 200, 10, UPRIGHT).points()
    assert not np.array_equal(labels_at(points, location, 1), labels_at(points, location, 2))
    assert hash_seed(0, "PHANTOM-001") != hash_seed(0, "PHANTOM-002") != hash_seed(1, "PHANTOM-002")


def test_labels_and_image_belong_together():
    grid = centered_grid("axial", (6, 64, 64), 160, 5, UPRIGHT)
    image, labels = phantom_volume("knee", 3, grid, (Timing(550, 11),), 1.5, 7)
    assert image.shape == (1, 6, 64, 64)
    assert np.array_equal(labels, labels_at(grid.points(), "knee", 3))
    mean = {tissue: image[0][labels == tissue].mean() for tissue in (Tissue.FAT, Tissue.MUSCLE, Tissue.AIR)}
    assert mean[Tissue.FAT] > mean[Tissue.MUSCLE] > 2 * mean[Tissue.AIR]


def test_noise_follows_its_seed_and_anatomy_does_not():
    grid = centered_grid("axial", (3, 32, 32), 160, 5, UPRIGHT)
    (one, labels), (other, same) = (
        phantom_volume("knee", 3, grid, (Timing(550, 11),), 1.5, seed) for seed in (1, 2)
    )
    assert np.array_equal(labels, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", AXES)
def test_a_grid_is_centered_and_its_voxels_are_where_the_header_says(name):
    grid = centered_grid(name, (5, 30, 20), 120, 6, np.array([0.1, 0.05, -0.1], np.float32))
    points = grid.points()
    assert np.allclose(points.reshape(3, -1).mean(axis=1), 0, atol=1e-3)
    assert np.allclose(points[:, 3, 0, 0], grid.slice_position(3), atol=1e-3)
    assert np.allclose(points[:, 0, 0, 1] - points[:, 0, 0, 0], grid.row_direction * 4, atol=1e-3)
    assert np.allclose(points[:, 0, 1, 0] - points[:, 0, 0, 0], grid.column_direction * 4, atol=1e-3)
    assert abs(float(grid.row_direction @ grid.column_direction)) < 1e-6


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_the_signal_equations_give_the_contrasts_that_radiologists_know(field):
    t1, t2 = signals(Timing(550, 11), field), signals(Timing(4200, 95), field)
    stir = signals(Timing(4500, 50, 205 if field == 3.0 else 165), field)
    assert t2[Tissue.FLUID] > 3 * t2[Tissue.MUSCLE]
    assert t1[Tissue.FAT] > 1.5 * t1[Tissue.MUSCLE]
    assert t1[Tissue.FLUID] < t1[Tissue.MUSCLE]
    assert stir[Tissue.FAT] < 0.25 * stir[Tissue.MUSCLE] < stir[Tissue.FLUID]
    assert t2[Tissue.GREY_MATTER] > t2[Tissue.WHITE_MATTER]
    assert t1[Tissue.GREY_MATTER] < t1[Tissue.WHITE_MATTER]
    for image in (t1, t2, stir):
        assert image[Tissue.AIR] == 0
        assert image.shape == (len(Tissue),)
        assert image.min() >= 0


def test_later_echoes_are_darker_and_fluid_decays_slowest():
    echoes = np.stack([signals(Timing(2400, echo), 1.5) for echo in (12.0, 36.0, 72.0)])
    assert (np.diff(echoes[:, 1:], axis=0) < 0).all()
    assert np.argmax(echoes[2, 1:] / echoes[0, 1:]) + 1 == Tissue.FLUID
