"""What errors tell, and what of it is passed on."""

import pytest

from mricore.errors import shareable


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a unit needs 4 GPUs (lower --set run.gpus)", "a unit needs 4 GPUs (lower --set run.gpus)"),
        ("no checkpoint in /data/Jane Doe/runs is whole (restore it)", "no checkpoint in ..."),
        ("the disk of s3://doe/x is full", "the disk of ..."),
        ("outputs/doe cannot be read", "..."),
        ("C:\\\\doe is gone", "..."),
    ],
)
def test_messages_are_cut_at_the_first_place(text, kept):
    assert shareable(text) == kept
