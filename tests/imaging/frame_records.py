"""De-identified images as curation knows them, for tests that need no file."""

import math

from mricore.imaging.frames import Frame


def frame(**changes):
    """A valid axial image of a knee."""
    fields = {
        "file": 0,
        "frame": 0,
        "slice_id": "slice",
        "series_id": "series",
        "exam_id": "exam",
        "patient_id": "patient",
        "accession_key": "",
        "study_key": "study key",
        "series_key": "",
        "protocol": "knee",
        "reason": "",
        "location": "knee",
        "location_evidence": "BodyPartExamined",
        "sequence": "T1",
        "sequence_evidence": "SeriesDescription",
        "vendor": "siemens",
        "vendor_evidence": "Manufacturer",
        "field_strength": 1.5,
        "repetition_time": 500.0,
        "echo_time": 10.0,
        "inversion_time": math.nan,
        "flip_angle": 90.0,
        "b_value": math.nan,
        "component": "M",
        "stack": "",
        "echo_number": None,
        "temporal_position": None,
        "trigger_time": math.nan,
        "acquisition_number": 1,
        "instance_number": 1,
        "orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        "position": (0.0, 0.0, 0.0),
        "spacing": (0.5, 0.5),
        "rows": 64,
        "columns": 64,
        "slope": 1.0,
        "intercept": 0.0,
        "padding": (),
    }
    made = {**fields, **changes}
    return Frame(**{**made, "series_key": made["series_key"] or made["series_id"]})
