"""Units on frozen features compute on the device that they are given."""

import pytest
from small_tasks import pixel_features, small_task

from mricore.config.probes import Clusters, PatchProbe, StrictProbe
from mricore.data.storage import place
from mricore.evaluation.features import Parts
from mricore.evaluation.logistic import Problem
from mricore.evaluation.tasks.drawing import draw
from mricore.workflows.linear_probe import ProbeWork
from mricore.workflows.patch_probe import PatchProbeWork
from mricore.workflows.zero_shot import ClusterWork

LABELLED = small_task(pool=8)
DRAW = draw(LABELLED, 0, seed=0, training=3, validation=3)
WORKS = {
    "logistic regression of patches": PatchProbeWork("e", DRAW, PatchProbe(), "test"),
    "neighbours of patches": PatchProbeWork("e", DRAW, PatchProbe(head="knn"), "test"),
    "logistic regression of slices": ProbeWork("e", "vendor", 0, 0, StrictProbe(), "test"),
    "clusters": ClusterWork("e", 0, 0, Clusters(counts=(4,)), "test"),
}


def features(folder, name):
    """Brightness of patches, or its mean over each slice."""
    kept, given = Parts(place(str(folder)), "features"), pixel_features(LABELLED)
    for volume in LABELLED.volumes:
        grids = given(volume.case)
        kept.write(volume.case, grids.mean((1, 2)) if name.endswith("slices") else grids)
    return kept


@pytest.mark.parametrize("name", WORKS)
def test_a_unit_computes_where_it_is_told_and_nowhere_else(name, tmp_path):
    given = LABELLED, features(tmp_path, name)
    assert WORKS[name](*given, device="cpu").rows
    with pytest.raises(RuntimeError, match="no_such_device"):
        WORKS[name](*given, device="no_such_device")


@pytest.mark.parametrize("name", [name for name in WORKS if name.startswith("logistic")])
def test_every_regression_of_a_unit_is_on_its_device(name, tmp_path, monkeypatch):
    devices, made = [], Problem.of
    monkeypatch.setattr(
        Problem,
        "of",
        lambda features, targets, device="cpu": devices.append(device) or made(features, targets),
    )
    assert WORKS[name](LABELLED, features(tmp_path, name), device="another").rows
    assert set(devices) == {"another"}
