"""The shipped tasks on real volumes: all cases are read, lie upright, and leaks are found."""

import numpy as np
import pytest
from task_files import dataset_of

from mricore.config.task import load_task
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.leaks import find_leaks
from mricore.evaluation.tasks.reading import read_volumes

pytestmark = pytest.mark.real_data
FOLDERS = {
    "abdomen": "abdomen_chaos_t2spir",
    "vertebrae": "lumbar_vertebrae_vb3_dixon",
    "hippocampus": "brain_hippocampus_msd",
    "kidney": "kidney_ukat",
}


@pytest.fixture(scope="module")
def real_tasks(real_data):
    return {
        name: read_volumes(load_task(name), real_data / "labelled" / folder)
        for name, folder in FOLDERS.items()
    }


def test_the_shipped_tasks_read_all_real_cases(real_tasks):
    counts = {name: (len(one.volumes), len(one.left_out)) for name, one in real_tasks.items()}
    assert counts == {"abdomen": (14, 0), "vertebrae": (18, 0), "hippocampus": (40, 0), "kidney": (12, 0)}
    slices = {name: sum(len(one.image) for one in task.volumes) for name, task in real_tasks.items()}
    assert slices == {"abdomen": 495, "vertebrae": 352, "hippocampus": 1439, "kidney": 125}
    shown = {
        name: sum(int(one.mask.any((1, 2)).sum()) for one in task.volumes)
        for name, task in real_tasks.items()
    }
    assert shown == {"abdomen": 389, "vertebrae": 269, "hippocampus": 1044, "kidney": 39}


def test_real_draws_are_of_ten_patients_except_for_the_kidneys(real_tasks):
    for name, task in real_tasks.items():
        drawn = draw(task, 0, 0)
        people = {task.patient(key) for key in drawn.training + drawn.validation}
        assert len(people) == (2 if name == "kidney" else 10)
        assert people.isdisjoint(task.split.test + task.split.development)


def test_real_slices_lie_as_radiologists_look_at_them(real_tasks):
    """The liver is at the left of the slice, kidneys are on their sides, vertebrae count downwards."""

    def middle(task, number, axis):
        return np.mean(
            [np.argwhere(one.mask == number)[:, axis].mean() / one.mask.shape[axis] for one in task]
        )

    abdomen, kidney = real_tasks["abdomen"].volumes, real_tasks["kidney"].volumes
    assert middle(abdomen, 1, 2) < 0.5 < middle(abdomen, 4, 2)
    assert middle(abdomen, 2, 2) < 0.5 < middle(abdomen, 3, 2)
    assert middle(kidney, 2, 2) < 0.5 < middle(kidney, 1, 2)
    spine = [one for one in real_tasks["vertebrae"].volumes if len(np.unique(one.mask)) == 6]
    places = [middle(spine, number, 1) for number in range(1, 6)]
    assert places == sorted(places)


def test_real_slices_in_a_dataset_are_found_and_those_of_others_are_not(real_tasks, tmp_path):
    abdomen = real_tasks["abdomen"]
    three = abdomen.of("pool")[:2] + abdomen.of("test")[:1]
    stored = [np.rot90(one.image[5:25].astype(np.uint16) * 3, 1, (1, 2)) for one in three]
    dataset = dataset_of(tmp_path, stored)
    found = find_leaks(abdomen, dataset)
    assert found.verdict == "found"
    assert dict(found.parts) == {"pool": 2, "development": 0, "test": 1}
    assert set(found.found) == {one.case for one in three}
    for one in three:
        assert set(range(5, 25)) <= set(found.found[one.case])
    for name in ("vertebrae", "kidney"):
        assert find_leaks(real_tasks[name], dataset).verdict == "none"
