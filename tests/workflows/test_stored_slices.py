"""What shards, ledger and draw hold of each slice, against the files it came from."""

import numpy as np
import pydicom
import pytest
from knee_series import picture, write_series
from PIL import Image, ImageDraw, ImageFont

from mricore.config.curation import Curation
from mricore.data.curate import curate
from mricore.data.job import Job
from mricore.data.ledger import ledger_rows
from mricore.data.manifest import read_manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import place
from mricore.data.work import in_process
from mricore.imaging.pseudonyms import Pseudonymizer

KEY = bytes(range(32))
NAMES = Pseudonymizer(KEY)
PHYSICS = {
    "MagneticFieldStrength": 2.9,
    "RepetitionTime": 501,
    "EchoTime": 11,
    "InversionTime": 151,
    "FlipAngle": 77,
    "DiffusionBValue": 801.0,
    "PixelSpacing": [0.7, 0.6],
    "RescaleSlope": 2,
    "RescaleIntercept": -30,
}


def curated(folder, table=None):
    target = place(str(folder / "out"))
    manifest = curate(Job(place(str(folder / "in")), target, Curation(), KEY, table), in_process)
    return target, manifest, sample_slices(target, manifest, manifest.counts["slices"], 0)


def measured(values):
    return [values.min(), values.max(), *np.percentile(values, [0.5, 99.5])]


def told(one):
    return [one.minimum, one.maximum, one.p0_5, one.p99_5]


def flat(*_):
    return np.full((80, 80), 7, np.uint16)


@pytest.fixture
def stored(tmp_path):
    """An exam of one coronal volume, of which the last slice is empty."""
    changes = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], **PHYSICS}
    for k in range(6):
        write_series(tmp_path / "in", 1, first=k, slices=1, ImagePositionPatient=[0, 4 * k, 0], **changes)
    write_series(
        tmp_path / "in", 1, first=6, slices=1, pixels=flat, ImagePositionPatient=[0, 24, 0], **changes
    )
    return tmp_path, *curated(tmp_path)


def test_a_slice_is_stored_with_its_own_statistics_and_those_of_its_volume(stored):
    folder, _, _, records = stored
    real = {}
    for path in sorted((folder / "in").iterdir()):
        image = pydicom.dcmread(path)
        name = NAMES.pseudonym(
            *("slice", "/P1", str(image.StudyInstanceUID), str(image.SeriesInstanceUID)),
            *(str(image.SOPInstanceUID), "0"),
        )
        real[name] = 2 * image.pixel_array.astype(float) - 30
    everything = np.concatenate([values.ravel() for values in real.values()])
    assert len(records) == 6
    for record in records:
        np.testing.assert_allclose(told(record.slice_intensity), measured(real[record.slice_id]))
        np.testing.assert_allclose(told(record.volume_intensity), measured(everything))


def test_a_slice_is_stored_with_its_physics(stored):
    *_, records = stored
    for record in records:
        assert (record.field_strength, record.repetition_time, record.echo_time) == (2.9, 501, 11)
        assert (record.inversion_time, record.flip_angle, record.b_value) == (151, 77, 801)
        assert (record.spacing_row, record.spacing_column, record.spacing_slice) == (0.7, 0.6, 4)
        assert (record.plane, record.slices_in_volume) == ("coronal", 7)
    assert {record.index for record in records} in ({0, 1, 2, 3, 4, 5}, {1, 2, 3, 4, 5, 6})


def test_empty_slices_are_in_the_ledger_and_not_in_the_dataset(stored):
    _, target, manifest, records = stored
    states = [state for (state,) in ledger_rows(target, manifest.ledger, ("state",))]
    assert sorted(states) == ["empty"] + ["stored"] * 6
    assert manifest.counts["slices"] == sum(sum(shard.row_groups) for shard in manifest.shards) == 6
    assert len({record.slice_id for record in records}) == 6
    assert manifest.distributions["field_strength"] == {"2.9 T": 6}
    assert manifest.distributions["plane"] == {"coronal": 6}


def test_padding_becomes_the_darkest_value_and_counts_for_nothing(tmp_path):
    def padded(patient, series, number):
        pixels = picture(patient, series, number) // 2 + 100
        pixels[:, :8] = 4095
        return pixels

    write_series(tmp_path / "in", 1, pixels=padded, PixelPaddingValue=4095)
    *_, records = curated(tmp_path)
    assert len(records) == 6
    for record in records:
        assert record.slice_intensity.maximum == record.pixels.max() < 4095
        assert record.volume_intensity.maximum < 4095
        assert set(record.pixels[:, :8].flat) == {record.pixels[:, 8:].min()}


def test_text_in_one_slice_leaves_out_its_volume_and_says_so(tmp_path):
    def named(patient, series, number):
        layer = Image.new("1", (80, 80))
        font = ImageFont.load_default_imagefont()
        ImageDraw.Draw(layer).text((4, 4), "NAME^FIRST" * (number == 3), fill=1, font=font)
        return np.where(np.asarray(layer), np.uint16(4095), picture(patient, series, number) // 2)

    write_series(tmp_path / "in", 1, pixels=named)
    write_series(tmp_path / "in", 2)
    _, manifest, records = curated(tmp_path)
    assert len(records) == 6
    assert manifest.rejected == ({"level": "volume", "reason": "burned_in_annotation", "count": 1},)


def test_exams_and_patients_and_volumes_are_counted_as_what_they_are(tmp_path):
    write_series(tmp_path / "in", 1)
    write_series(tmp_path / "in", 1, series=2)
    write_series(tmp_path / "in", 1, series=3, StudyInstanceUID="1.1.9", StudyDescription="MR HIP")
    write_series(tmp_path / "in", 2)
    _, manifest, _ = curated(tmp_path)
    assert manifest.counts == {"slices": 24, "volumes": 4, "exams": 3, "patients": 2}
    steps = {row["step"]: row for row in manifest.funnel}
    assert steps["drawn exams"] == {
        **{"step": "drawn exams", "protocols": 2},
        **{"images": 24, "series": 4, "exams": 3, "patients": 2},
    }
    assert steps["continuous volumes"] == {"step": "continuous volumes", "images": 24, "volumes": 4}


def test_exams_of_earlier_rounds_count_under_the_protocol_of_the_table(tmp_path):
    """The headers may call it something else."""
    keys = [NAMES.exam_key(f"1.{patient}") for patient in range(4)]

    def made(patients):
        table = {keys[patient]: "knee" for patient in patients}
        target = place(str(tmp_path / "out"))
        policy = Curation(exams_per_protocol=2)
        return curate(Job(place(str(tmp_path / "in")), target, policy, KEY, table), in_process)

    for patient in range(4):
        write_series(tmp_path / "in" / str(patient), patient, StudyDescription=f"MR {'hip' * patient}")
    assert made([0, 1]).counts["exams"] == 2
    assert made([0, 1, 2, 3]).counts["exams"] == 2
    assert read_manifest(place(str(tmp_path / "out"))).rejected[-1]["reason"] == "over_protocol_limit"
