"""What the protocols and modes of an evaluation are, in words for its reader."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A heading, what was done, and how the figures and tables are to be read."""

    heading: str
    told: str


PROTOCOLS = {
    "few_shot": (
        "Few-shot segmentation",
        "Adapters in the encoder and in SAM's decoder learn from a few labelled slices, a few others tell "
        "when to stop, and patients that neither came from are segmented (paper section 2.1).",
    ),
    "patch_probe": (
        "Segmentation from frozen patches",
        "A simple classifier on the encoder's frozen patch features learns from a few labelled slices.",
    ),
    "linear_probe": (
        "Linear probe",
        "A linear classifier on frozen features of whole slices; patients are split anew in each draw "
        "(paper section 2.2).",
    ),
    "zero_shot": (
        "Zero-shot clusters",
        "k-means on frozen patch features, without any training (paper section 2.3). Best cluster: the one "
        "that overlaps most with the structure. Majority: each cluster is called what most of it is.",
    ),
    "knn": (
        "Nearest neighbours",
        "Share of slices whose class is found by their nearest neighbours of other patients.",
    ),
}
MODES = {
    (
        "few_shot",
        "strict",
    ): "All slices of the judged volumes, metrics in millimetres, each slice for itself.",
    (
        "few_shot",
        "paper",
    ): "As the published code measures: slices without the structure are dropped, 2D Dice of "
    "two slices together, surfaces in voxels of slices of 256 pixels.",
    ("linear_probe", "strict"): "The judged patients take no part in any choice.",
    ("linear_probe", "paper"): "The best epoch on the slices that are reported, as in the paper.",
}


def text_of(protocol: str, mode: str) -> Text:
    """The words for a protocol in a mode; an unknown one is called by its own name."""
    heading, told = PROTOCOLS.get(protocol, (protocol, ""))
    return Text(
        f"{heading}, {mode}" if mode else heading, f"{told} {MODES.get((protocol, mode), '')}".strip()
    )
