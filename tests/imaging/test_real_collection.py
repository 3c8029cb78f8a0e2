"""Real MRI of six public archives, and real files that a curator must refuse."""

from collections import Counter, defaultdict
from functools import partial

import pytest

from mricore.config.schema import Curation
from mricore.imaging.anatomy import locate
from mricore.imaging.deidentify import Pseudonymizer
from mricore.imaging.geometry import plane
from mricore.imaging.headers import FrameHeader, frame_reason, read_header
from mricore.imaging.pixels import read_pixels
from mricore.imaging.selection import select_series
from mricore.imaging.sequences import sequence_type, vendor
from mricore.imaging.volumes import build_volumes
from mricore.records import Reason

pytestmark = pytest.mark.real_data
POLICY = Curation()
select = partial(select_series, order=Pseudonymizer(b"k" * 32).order)


def read_folder(folder):
    """What ``read_header`` makes of every file, by the file's folder and name."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            found[path.relative_to(folder).as_posix()] = read_header(stream, str(path))
    return found


@pytest.fixture(scope="module")
def archive(real_data):
    return read_folder(real_data / "dicom")


@pytest.fixture(scope="module")
def edge_cases(real_data):
    return read_folder(real_data / "dicom_edge_cases")


def headers_under(archive, folder):
    return [header for path, header in archive.items() if path.startswith(f"{folder}/")]


def frames(archive):
    return [header for header in archive.values() if isinstance(header, FrameHeader)]


def test_every_file_of_the_archives_is_a_slice_that_the_policy_does_not_refuse(archive):
    assert len(archive) == 373
    assert len(frames(archive)) == 373
    assert {frame_reason(header, POLICY) for header in frames(archive)} == {None}


def test_the_pelvis_series_become_nine_volumes_of_t1_by_siemens(archive):
    headers = headers_under(archive, "cptac_ucec_pelvis")
    volumes, tally = build_volumes(headers, POLICY)
    assert not tally
    assert len(volumes) == 9
    assert sum(len(volume.frames) for volume in volumes) == 221
    assert {header.patient_key for header in headers} == {v.frames[0].patient_key for v in volumes}
    for volume in volumes:
        first = volume.frames[0]
        assert (sequence_type(first).value, vendor(first).value) == ("T1", "siemens")
        assert (locate(first).value, plane(first.orientation)) == ("pelvis", "coronal")
        assert volume.spacing_slice > 0


def test_some_pelvis_series_have_no_manufacturer(archive):
    headers = headers_under(archive, "cptac_ucec_pelvis")
    assert {header.manufacturer for header in headers} > {""}


def test_the_knee_becomes_one_volume_per_echo(archive):
    volumes, tally = build_volumes(headers_under(archive, "knee_mese_t2_ge"), POLICY)
    assert not tally
    assert [len(volume.frames) for volume in volumes] == [6] * 8
    echoes = [volume.frames[0].echo_time for volume in volumes]
    assert echoes == sorted(set(echoes))
    for volume in volumes:
        assert len({frame.echo_time for frame in volume.frames}) == 1
    places = [[frame.position for frame in volume.frames] for volume in volumes]
    assert all(one == places[0] for one in places)


def test_no_head_passes_the_default_policy(archive):
    selected, tally = select(frames(archive), POLICY)
    assert tally["series", Reason.FACIAL_ANATOMY] == 3
    assert tally["series", Reason.UNKNOWN_ANATOMY] == 1
    assert {key for key in tally if key[0] == "series"} == {
        ("series", Reason.FACIAL_ANATOMY),
        ("series", Reason.UNKNOWN_ANATOMY),
    }
    by_uri = {header.uri: path.split("/")[0] for path, header in archive.items()}
    assert {by_uri[header.uri] for header in selected} == {"cptac_ucec_pelvis", "knee_mese_t2_ge"}


def test_diffusion_is_split_by_b_value_and_an_incomplete_shell_is_left_out(archive):
    headers = headers_under(archive, "head_dwi_philips_vanderbilt")
    assert {sequence_type(header).value for header in headers} == {"DWI"}
    volumes, tally = build_volumes(headers, Curation(min_slices=1))
    # 16 directions of b = 2000 at two positions, 5 at the third: cropped in the middle of a pass.
    assert tally == Counter({("volume", Reason.DUPLICATE_POSITION): 1})
    assert [{frame.b_value for frame in volume.frames} for volume in volumes] == [{0.0}]
    assert len(volumes[0].frames) == 3
    headers = [header for header in headers if header.position[2] < -40]
    volumes, tally = build_volumes(headers, Curation(min_slices=1))
    assert not tally
    assert Counter(volume.frames[0].b_value for volume in volumes) == {0.0: 1, 2000.0: 16}
    for volume in volumes:
        assert len({frame.position for frame in volume.frames}) == len(volume.frames) == 2
        assert len({frame.b_value for frame in volume.frames}) == 1


def test_one_slice_of_every_series_decodes(archive):
    by_series = defaultdict(list)
    for header in frames(archive):
        by_series[header.series_uid].append(header)
    for members in by_series.values():
        with open(members[len(members) // 2].uri, "rb") as stream:  # noqa: PTH123
            pixels = read_pixels(stream)
        assert pixels.shape == (members[0].rows, members[0].columns)
        assert pixels.max() > pixels.min()


def test_edge_cases_are_refused_for_their_reasons(edge_cases):
    reasons = Counter(found for found in edge_cases.values() if isinstance(found, Reason))
    assert reasons == {Reason.MULTIFRAME: 7, Reason.NOT_MR: 4, Reason.MOSAIC: 1}
    by_folder = {
        (path.split("/")[0], found) for path, found in edge_cases.items() if isinstance(found, Reason)
    }
    assert by_folder == {
        ("mr_enhanced_multiframe_noise", Reason.MULTIFRAME),
        ("mr_transfer_syntaxes", Reason.MULTIFRAME),
        ("nonmr_ct", Reason.NOT_MR),
        ("nonmr_sr", Reason.NOT_MR),
        ("mr_siemens_mosaic", Reason.MOSAIC),
    }


def test_a_real_phantom_that_its_header_calls_a_brain_is_left_out_as_one(edge_cases):
    headers = headers_under(edge_cases, "mr_phantom_ge")
    assert [frame_reason(header, POLICY) for header in headers] == [None] * 4
    selected, tally = select(headers, POLICY)
    assert not selected
    assert tally == Counter({("series", Reason.FACIAL_ANATOMY): 1})
