"""The linear probe as units: which patients take part."""

import numpy as np
import pytest
from small_tasks import small_task

from mricore.config.probes import StrictProbe
from mricore.data.storage import place
from mricore.evaluation.features import Parts
from mricore.workflows.linear_probe import TASK, ProbeWork

SETTINGS = StrictProbe(folds=2, l2=(0.1,))


def features_of(task, root, name, shift):
    """Random features of each volume; those of test patients are moved by ``shift``."""
    parts = Parts(place(str(root)), name)
    for one in task.volumes:
        vectors = np.random.default_rng(int(one.case[-3:])).normal(size=(len(one.image), 4))
        parts.write(one.case, (vectors + (one.patient in task.split.test) * shift).astype(np.float32))
    return parts


@pytest.mark.parametrize("category", ["vendor", TASK])
def test_choices_on_development_patients_rest_on_no_test_patient(tmp_path, category):
    tasks = [small_task(pool=6, development=2, test=4)]
    if category == TASK:
        tasks.append(small_task(seed=1, pool=6, development=2, test=4, name="circles"))
    found = {}
    for part in ("development", "test"):
        for shift in (0, 5):
            kept = [features_of(one, tmp_path, f"{one.task.name}{shift}", shift) for one in tasks]
            work = ProbeWork("e", category, 0, 0, SETTINGS, part)
            found[part, shift] = work(*tasks, *kept, device="cpu").rows
    assert found["development", 0] == found["development", 5]
    assert found["test", 0] != found["test", 5]
    judged = {row.patient.rpartition(":")[2] for row in found["development", 0]}
    assert judged and not judged & {name for one in tasks for name in one.split.test}
