"""Real MRI of six public archives, and real files that a curator must refuse."""

from collections import Counter, defaultdict

import pytest
from dicom_files import frames_of

from mricore.config.curation import Curation
from mricore.imaging.deidentify import frame_of
from mricore.imaging.geometry import plane
from mricore.imaging.pixels import read_pixels
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.selection import allowed_series, series_of
from mricore.imaging.volumes import build_volumes
from mricore.records import Reason

pytestmark = pytest.mark.real_data
POLICY = Curation()
PSEUDONYMS = Pseudonymizer(b"k" * 32)


def read_folder(folder):
    """The headers in every file, or the reason against it, by the file's folder and name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): frames_of(path.read_bytes(), str(path)) for path in paths}


@pytest.fixture(scope="module")
def archive(real_data):
    return read_folder(real_data / "dicom")


@pytest.fixture(scope="module")
def edge_cases(real_data):
    return read_folder(real_data / "dicom_edge_cases")


def headers_under(archive, folder):
    return [
        header
        for path, found in archive.items()
        if path.startswith(folder) and isinstance(found, list)
        for header in found
    ]


def kept_of(headers):
    """What curation keeps of headers."""
    return [frame_of(header, number, POLICY, PSEUDONYMS) for number, header in enumerate(headers)]


def test_every_file_of_the_archives_is_a_slice_that_the_policy_does_not_refuse(archive):
    assert len(archive) == 373
    headers = headers_under(archive, "")
    assert [len(found) for found in archive.values()] == [1] * 373
    assert {frame.reason for frame in kept_of(headers)} == {""}


def test_the_pelvis_series_become_nine_volumes_of_t1_by_siemens(archive):
    headers = headers_under(archive, "cptac_ucec_pelvis")
    volumes, tally = build_volumes(kept_of(headers), POLICY)
    assert not tally
    assert len(volumes) == 9
    assert sum(len(volume.frames) for volume in volumes) == 221
    assert len({header.patient_key for header in headers}) == 9
    assert len({volume.frames[0].patient_id for volume in volumes}) == 9
    for volume in volumes:
        first = volume.frames[0]
        assert (first.sequence, first.vendor) == ("T1", "siemens")
        assert (first.location, plane(first.orientation)) == ("pelvis", "coronal")
        assert volume.spacing_slice > 0


def test_some_pelvis_series_have_no_manufacturer(archive):
    headers = headers_under(archive, "cptac_ucec_pelvis")
    assert {header.manufacturer for header in headers} > {""}


def test_the_knee_becomes_one_volume_per_echo(archive):
    volumes, tally = build_volumes(kept_of(headers_under(archive, "knee_mese_t2_ge")), POLICY)
    assert not tally
    assert [len(volume.frames) for volume in volumes] == [6] * 8
    echoes = [volume.frames[0].echo_time for volume in volumes]
    assert echoes == sorted(set(echoes))
    for volume in volumes:
        assert len({frame.echo_time for frame in volume.frames}) == 1
    places = [[frame.position for frame in volume.frames] for volume in volumes]
    assert all(one == places[0] for one in places)


def allowed_folders(archive, folders):
    """Folders of which a series has allowed anatomy, and the rejects."""
    allowed, tally = set(), Counter()
    for folder in folders:
        exams = defaultdict(list)
        for series in series_of(kept_of(headers_under(archive, f"{folder}/"))):
            exams[series.exam_id].append(series)
        for exam in exams.values():
            kept, rejected = allowed_series(exam, POLICY)
            tally.update(rejected)
            allowed |= {folder for _ in kept}
    return allowed, tally


def test_no_head_passes_the_default_policy(archive):
    allowed, tally = allowed_folders(archive, {path.split("/")[0] for path in archive})
    assert allowed == {"cptac_ucec_pelvis", "knee_mese_t2_ge"}
    assert tally == {("series", Reason.FACIAL_ANATOMY): 3, ("series", Reason.UNKNOWN_ANATOMY): 1}


def test_diffusion_is_split_by_b_value_and_an_incomplete_shell_is_left_out(archive):
    frames = kept_of(headers_under(archive, "head_dwi_philips_vanderbilt"))
    assert {frame.sequence for frame in frames} == {"DWI"}
    volumes, tally = build_volumes(frames, Curation(min_slices=1))
    # 16 directions of b = 2000 at two positions, 5 at the third: cropped in the middle of a pass.
    assert tally == Counter({("volume", Reason.DUPLICATE_POSITION): 1})
    assert [{frame.b_value for frame in volume.frames} for volume in volumes] == [{0.0}]
    assert len(volumes[0].frames) == 3
    frames = [frame for frame in frames if frame.position[2] < -40]
    volumes, tally = build_volumes(frames, Curation(min_slices=1))
    assert not tally
    assert Counter(volume.frames[0].b_value for volume in volumes) == {0.0: 1, 2000.0: 16}
    for volume in volumes:
        assert len({frame.position for frame in volume.frames}) == len(volume.frames) == 2
        assert len({frame.b_value for frame in volume.frames}) == 1


def test_one_slice_of_every_series_decodes(archive):
    by_series = defaultdict(list)
    for header in headers_under(archive, ""):
        by_series[header.series_uid].append(header)
    for members in by_series.values():
        with open(members[len(members) // 2].uri, "rb") as stream:  # noqa: PTH123
            (pixels,) = read_pixels(stream)
        assert pixels.shape == (members[0].rows, members[0].columns)
        assert pixels.max() > pixels.min()


def test_edge_cases_give_images_or_their_reason(edge_cases):
    found = {}
    for path, one in edge_cases.items():
        found.setdefault(path.split("/")[0], []).append(one if isinstance(one, Reason) else len(one))
    assert found == {
        "mr_enhanced_multiframe_noise": [8],
        "mr_phantom_ge": [1, 1, 1, 1],
        "mr_siemens_mosaic": [60],
        # the small Enhanced files have lost their functional groups
        "mr_transfer_syntaxes": [1] * 4 + [Reason.NO_GEOMETRY] * 6,
        "nonmr_ct": [Reason.NOT_MR] * 3,
        "nonmr_sr": [Reason.NOT_MR],
    }


def test_a_real_phantom_that_its_header_calls_a_brain_is_left_out_as_one(edge_cases):
    frames = kept_of(headers_under(edge_cases, "mr_phantom_ge"))
    assert [frame.reason for frame in frames] == [""] * 4
    allowed, tally = allowed_folders(edge_cases, ["mr_phantom_ge"])
    assert not allowed
    assert tally == {("series", Reason.FACIAL_ANATOMY): 1}
