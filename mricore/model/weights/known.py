"""Published weight files: where they come from, their licence, and digests to know them by.

A digest is listed if at least two independent public projects state it. Some publish SHA-256, some MD5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mricore.errors import UserError
from mricore.model.weights.files import require_file

_CHUNK = 1 << 24
_META = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Published:
    """A file that others offer; ``digests`` as ``algorithm:hexadecimal``, one of which it must have."""

    source: str
    licence: str
    digests: tuple[str, ...] = ()


KNOWN: Mapping[str, Published] = {
    "sam_vit_b_01ec64.pth": Published(
        f"{_META}/segment_anything/sam_vit_b_01ec64.pth",
        "Apache-2.0",
        ("sha256:ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",),
    ),
    "sam_vit_l_0b3195.pth": Published(
        f"{_META}/segment_anything/sam_vit_l_0b3195.pth",
        "Apache-2.0",
        ("sha256:3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",),
    ),
    "sam_vit_h_4b8939.pth": Published(
        f"{_META}/segment_anything/sam_vit_h_4b8939.pth",
        "Apache-2.0",
        ("sha256:a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",),
    ),
    # offered at two places; it is not certain that both hold the same bytes
    "medsam_vit_b.pth": Published(
        "https://zenodo.org/records/10689643, or the folder that github.com/bowang-lab/MedSAM names",
        "CC BY 4.0 (Zenodo); the code is Apache-2.0",
        (
            "sha256:34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
            "md5:3bb6db55bd0c9ca30b61248bca72f8d6",
        ),
    ),
    "MRI_CORE_vitb.pth": Published(
        "the link in the README of github.com/mazurowski-lab/mri_foundation", "Apache-2.0"
    ),
    "mri_foundation.pth": Published(
        "the link in the README of github.com/mazurowski-lab/mri_foundation", "Apache-2.0"
    ),
    "dinov2_vits14_pretrain.pth": Published(
        f"{_META}/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
        "Apache-2.0",
        ("sha256:b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",),
    ),
    "dinov2_vitb14_pretrain.pth": Published(
        f"{_META}/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        "Apache-2.0",
        ("sha256:0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",),
    ),
    "dinov2_vitl14_pretrain.pth": Published(
        f"{_META}/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        "Apache-2.0",
        ("sha256:d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",),
    ),
    "mae_pretrain_vit_base.pth": Published(
        f"{_META}/mae/pretrain/mae_pretrain_vit_base.pth",
        "CC BY-NC 4.0",
        ("sha256:aec5f0b68e5f3193a00b07bc65a37440db549c15b36b8bea242606cc40c4bc5d",),
    ),
    "mae_pretrain_vit_large.pth": Published(
        f"{_META}/mae/pretrain/mae_pretrain_vit_large.pth", "CC BY-NC 4.0"
    ),
}


def verified(path: Path, known: Mapping[str, Published] = KNOWN) -> str:
    """What the digest of a file tells, as words for a report.

    Raises:
        UserError: a published file of this name has another digest, so this one is damaged or another.
    """
    published = known.get(path.name)
    digests = [digest.partition(":") for digest in published.digests] if published else []
    found = digests_of(path, {"sha256", *(algorithm for algorithm, _, _ in digests)})
    own = f"sha256 {found['sha256']}"
    if published is None:
        return f"{own}, not verifiable: no published file of this name is known"
    if not digests:
        return f"{own}, not verifiable: its publisher states no digest"
    if any(found[algorithm] == value for algorithm, _, value in digests):
        return f"{own}, verified: it is the published file"
    raise UserError(
        f"{path} is not the published {path.name}: its digest differs, so it is damaged or another file",
        f"fetch it again from {published.source}, or give another file another name",
    )


def digests_of(path: Path, algorithms: set[str]) -> dict[str, str]:
    """Digests of a file by algorithm, hexadecimal, in one pass.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    require_file(path)
    states = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                for state in states.values():
                    state.update(chunk)
    except OSError:
        raise UserError(f"{path} cannot be read", "check its permissions, or fetch it again") from None
    return {name: state.hexdigest() for name, state in states.items()}
