"""Files of made-up knee series for tests of curation: every slice looks different, and like nothing else."""

import numpy as np
from dicom_files import mr_bytes

SIDE = 80


def picture(*seed):
    """A smooth 12-bit image, (80, 80), that the seed decides."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = (
        rng.uniform(0.5, 1) * np.cos(2 * np.pi * (a * rows + b * columns) + rng.uniform(0, 6))
        for a, b in rng.uniform(-4, 4, (12, 2))
    )
    image = np.sum(list(waves), axis=0)
    image = (image - image.min()) / np.ptp(image)
    return (4000 * image + rng.uniform(0, 40, image.shape)).astype(np.uint16)


def write_series(folder, patient, series=1, slices=6, first=0, pixels=picture, **attributes):
    """Write the slices of one series of one exam of a knee; ``attributes`` of None are left out.

    ``pixels`` gets patient, series and number of the slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + slices):
        fields = {
            "PatientID": f"P{patient}",
            "StudyInstanceUID": f"1.{patient}",
            "SeriesInstanceUID": f"1.{patient}.{series}",
            "SOPInstanceUID": f"1.{patient}.{series}.{number}",
            "ImagePositionPatient": [0, 0, 4 * number],
            "InstanceNumber": number + 1,
            "StudyDescription": "MR KNEE",
        }
        content = mr_bytes(pixels(patient, series, number), **{**fields, **attributes})
        (folder / f"{patient}-{series}-{number}.dcm").write_bytes(content)
