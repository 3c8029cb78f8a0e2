"""The measuring pass on real files, and the fingerprint of a source."""

import numpy as np
from dicom_files import header_of, mr_bytes

from mricore.config.schema import Curation
from mricore.data.curate import source_fingerprint
from mricore.data.passes import measure_one
from mricore.data.storage import StoredFile, place
from mricore.imaging.deidentify import Pseudonymizer
from mricore.imaging.volumes import Volume


def test_an_empty_slice_is_left_out_and_statistics_are_of_slice_and_volume(tmp_path):
    flat = np.full((64, 64), 5, np.uint16)
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    frames = []
    for k, pixels in enumerate((flat, ramp)):
        content = mr_bytes(
            pixels,
            SOPInstanceUID=f"1.{k}",
            ImagePositionPatient=[0, 0, k],
            RescaleSlope=2,
            RescaleIntercept=1,
        )
        (tmp_path / str(k)).write_bytes(content)
        frames.append(header_of(content, str(k)))
    measured = measure_one(place(str(tmp_path)), Volume(tuple(frames), 1.0), Pseudonymizer(b"k" * 32))
    assert (measured.empty_slices, measured.reason) == (1, None)
    (task,) = measured.slices
    record = task.record
    assert (record.index, record.slices_in_volume, record.location, record.sequence) == (1, 2, "knee", "T1")
    assert (record.slice_intensity.minimum, record.slice_intensity.maximum) == (1, 8191)
    assert record.volume_intensity.p0_5 != record.slice_intensity.p0_5


def test_a_fingerprint_needs_the_key():
    """Else whoever guesses a file's name could confirm it."""
    files = [StoredFile("JOHN_DOE/1", 5, 1)]
    assert source_fingerprint(files, Curation(), b"a" * 32) != source_fingerprint(
        files, Curation(), b"b" * 32
    )
