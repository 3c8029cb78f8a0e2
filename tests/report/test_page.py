"""The page: complete, self-contained, harmless whatever it is given."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from html_pages import parsed
from PIL import Image

from mricore.evaluation.protocol import Score
from mricore.evaluation.statistics import Difference, Interval
from mricore.report.figures import picture, with_mask
from mricore.report.page import ReportInputs, render

HEADINGS = (
    "Slices in",
    "Crops out",
    "Losses",
    "Judged while training",
    "Health",
    "Schedules",
    "What the features see",
    "k-NN on frozen embeddings",
    "What is in the data",
    "What remained after each step",
    "What was left out",
    "Where the time went",
    "Use it",
    "Settings",
)
SCORE = Score(
    "location",
    400,
    30,
    4,
    chance=0.31,
    before=Interval(0.42, 0.35, 0.5),
    after=Interval(0.55, 0.47, 0.62),
    difference=Difference(Interval(0.13, 0.02, 0.21), 0.0123),
    note="left out: wrist (9), seen in one patient only",
)


def rich(**changes):
    rng = np.random.default_rng(0)
    history = [
        {
            "step": step,
            "loss/total": 9 - step / 10,
            "loss/ibot": 3.0,
            "gauge/rank": 10.0,
            "schedule/lr": 1e-3 / step,
        }
        for step in range(1, 30)
    ]
    for row in history[::10]:
        row |= {
            "validation/location": 0.4,
            "validation/mean": 0.4,
            "validation/segmentation": row["step"] / 40,
        }
    history[-1] |= {"time/step_s": 0.8, "time/data_wait_s": 0.2, "progress/slices_per_s": 30.0}
    slice_, colours = rng.random((40, 50)), rng.random((12, 12, 3))
    values = {
        "title": "A run",
        "generated_phantoms": True,
        "facts": [("slices", "510")],
        "history": history,
        "examples": [(slice_, "knee, T1")] * 4,
        "crops": [
            ("knee", [("slice", slice_), ("global crop 1", slice_), ("local crop 1", slice_[:16, :16])])
        ],
        "features": [(slice_, colours, colours)] * 3,
        "scores": [SCORE, Score("vendor", 0, 0, 0, note="no class occurs")],
        "distributions": {"location": {"knee": 5, "spine": 3}, "vendor": {"ge": 8}},
        "funnel": [
            {"step": "files found", "files": 1234},
            {"step": "slices in the dataset", "images": 8, "patients": 2},
        ],
        "rejected": [{"level": "image", "reason": "localizer", "count": 1039}],
        "timings": {"data": 10.0, "training": 90.0},
        "commands": [("Load it", "mricore.load('models:/x@y')")],
        "recipe": {"name": "tiny"},
    }
    return ReportInputs(**{**values, **changes})


def test_a_full_page_has_every_section_and_loads_nothing():
    page = render(rich())
    for heading in HEADINGS:
        assert heading in page
    assert "Generated phantoms" in page
    for text in (
        "1,234",
        "1,039",
        "localizer or calibration scan",
        "0.550 [0.470, 0.620]",
        "+0.130 [+0.020, +0.210]",
        "0.012",
        "wrist (9)",
        "not judged",
    ):
        assert text in page
    assert page.index("Generated phantoms") < page.index("<h1>")
    found = parsed(page)
    assert len(found.links) == len(HEADINGS)
    assert len(found.images) > 10


def test_what_is_missing_is_left_out():
    page = render(ReportInputs(title="Empty", generated_phantoms=False, facts=[]))
    assert "phantoms" not in page
    assert "<h2" not in page
    for heading in HEADINGS:
        assert heading not in page
    assert "Losses" in render(rich(history=[{"step": 1, "loss/total": 2.0}]))


@pytest.mark.parametrize(
    "gone", ["scores", "rejected", "history", "crops", "features", "timings", "examples"]
)
def test_any_part_may_be_missing(gone):
    page = render(rich(**{gone: type(getattr(rich(), gone))()}))
    assert "<h2" in page
    assert len(page) < len(render(rich()))


def test_real_data_is_not_called_phantoms():
    page = render(rich(generated_phantoms=False))
    assert "phantoms" not in page
    assert "de-identified" in page


def test_hostile_text_stays_text():
    bad = "<script>alert('x')</script>\"'$\\frac{$ </style>&"
    page = render(
        rich(
            title=bad,
            facts=[(bad, bad)],
            examples=[(np.zeros((8, 8)), bad)],
            scores=[replace(SCORE, task=bad, note=bad)],
            history=[{"step": 1.0, f"gauge/{bad}": 1.0, f"time/{bad}_s": 1.0}],
            crops=[(bad, [(bad, np.zeros((8, 8)))])],
            rejected=[{"level": bad, "reason": bad, "count": 1}],
            funnel=[{"step": bad, "files": 1}],
            commands=[(bad, bad)],
            recipe={"x": bad},
            distributions={"location": {bad: 3}},
            timings={bad: 3.0},
        )
    )
    parsed(page)


def test_pictures_hold_the_given_pixels():
    array = np.linspace(0, 1, 30).reshape(5, 6)
    content = base64.b64decode(picture(array, 10).partition(",")[2])
    image = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(image[::2, ::2], np.rint(array * 255))


def test_large_slices_are_reduced_and_keep_their_shape():
    content = base64.b64decode(picture(np.zeros((1024, 512)), 100).partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (100, 200)


def test_exactly_the_masked_patches_are_tinted():
    mask = np.zeros((2, 2), bool)
    mask[0, 1] = True
    tinted = with_mask(np.full((8, 8), 0.5), mask)
    changed = (tinted != 0.5).any(-1)
    assert changed[:4, 4:].all()
    assert changed.sum() == 16


def test_the_page_of_mae_speaks_of_no_teacher():
    page = render(rich(recipe={"name": "tiny_mae", "method": "mae"}))
    assert "the decoder must paint them" in page
    assert "teacher" not in page.lower().partition("settings")[0].partition("slices in")[2]
