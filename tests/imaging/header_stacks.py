"""Headers and stacks of headers, made without a file."""

from dataclasses import replace

from dicom_files import dataset, header_of, to_bytes

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_BLANK = {
    "uri": "",
    "sop_uid": "",
    "image_type": ("ORIGINAL", "PRIMARY"),
    **dict.fromkeys(("body_part", "study_description", "series_description", "protocol_name"), ""),
    **dict.fromkeys(("requested_procedure", "coil", "manufacturer", "model"), ""),
    **dict.fromkeys(("repetition_time", "echo_time", "inversion_time", "flip_angle", "b_value"), float("nan")),
    **dict.fromkeys(("scanning_sequence", "sequence_variant", "scan_options"), ()),
}
_PLAIN = replace(header_of(to_bytes(dataset())), **_BLANK)


def header(**fields):
    """A header without evidence of anatomy, sequence or vendor, but for the given fields."""
    known = replace(_PLAIN, **fields)
    return replace(known, uri=known.uri or known.sop_uid)


def stack(count=6, gap=5.0, series="1.2.3", tag="", step=(0.0, 0.0, 1.0), **fields):
    """Headers of ``count`` slices, ``gap`` mm apart along ``step``, in order of acquisition."""
    return [
        header(
            **{
                "sop_uid": f"{series}.{tag}.{index}",
                "series_uid": series,
                "orientation": AXIAL,
                "position": tuple(gap * index * part for part in step),
                "instance_number": index + 1,
                **fields,
            }
        )
        for index in range(count)
    ]
