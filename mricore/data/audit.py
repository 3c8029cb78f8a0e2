"""The audit of a curation: which attributes its files had, how many files, what became of them; no value."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from mricore.data.storage import Place
from mricore.imaging.treatment import REMOVED, tag_of, treatment

AUDIT = "audit.json"
_ABOUT = (
    "De-identification by allow-list: an attribute that is not named as kept is removed, also inside "
    "sequences; dates and times are removed, not shifted; overlays are removed, also those in unused bits of "
    "the pixels. Counts are of files whose header could be read. No value of any file stands here."
)

_ABOUT_IMAGES = (
    "De-identification by allow-list: these are images of labelled tasks. Of NIfTI headers shape, scale and "
    "where voxels lie are read, of PNG nothing but pixels, of DICOM the attributes that the curation of "
    "archives reads. Nothing else of a file is kept, no name of a file, and no mask."
)


def write_audit_of_images(dataset: Place, files: int) -> None:
    """Write the audit of a dataset of declared images, whose headers tell next to nothing."""
    document = {"about": _ABOUT_IMAGES, "files": files, "removed": [], "used": []}
    dataset.write_bytes(AUDIT, (json.dumps(document, indent=1) + "\n").encode())


def write_audit(dataset: Place, files: int, attributes: Counter[str]) -> None:
    """Write the audit of the latest curation of ``files`` files; ``attributes`` counts files by keyword."""
    rows = [_row(name, count) for name, count in sorted(attributes.items())]
    document = {
        "about": _ABOUT,
        "files": files,
        "removed": [row for row in rows if row["treatment"] == REMOVED],
        "used": [row for row in rows if row["treatment"] != REMOVED],
    }
    dataset.write_bytes(AUDIT, (json.dumps(document, indent=1) + "\n").encode())


def _row(name: str, files: int) -> dict[str, Any]:
    return {"attribute": name, "tag": tag_of(name), "files": files, "treatment": treatment(name)}
