"""On real MRI a real DINOv2 knows more than random weights, in patches and in whole slices."""

import copy

import numpy as np
import pytest
import torch

from mricore.config.probes import PatchProbe, StrictProbe
from mricore.config.task import load_task
from mricore.evaluation.features import features_of
from mricore.evaluation.linear_probe import Probed, evenly, run_draw
from mricore.evaluation.patch_probe import Taught, learned, mean_dice
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.reading import read_volumes
from mricore.model.baseline import from_weights
from mricore.model.initialise import initialise

pytestmark = [pytest.mark.real_data, pytest.mark.slow]
FOLDERS = {
    "abdomen": "abdomen_chaos_t2spir",
    "vertebrae:any": "lumbar_vertebrae_vb3_dixon",
    "kidney": "kidney_ukat",
}
FEW = 20


@pytest.fixture(scope="module")
def tasks(real_data):
    return {
        name: read_volumes(load_task(name), real_data / "labelled" / folder)
        for name, folder in FOLDERS.items()
    }


@pytest.fixture(scope="module")
def encoders(real_data):
    trained, _ = from_weights(
        real_data / "weights" / "dinov2_vits14_imgfocus_fp16.safetensors", "dinov2", 224
    )
    random = copy.deepcopy(trained)
    initialise(random.encoder, torch.Generator().manual_seed(0))
    random.token.norm.reset_parameters()
    return {"trained": trained, "random": random}


def taught(encoder, labelled, keys):
    found = []
    for key in keys:
        image, mask = labelled.slice(key)
        found.append(Taught(features_of(encoder, "dense", image[None], 1)[0], mask))
    return found


def test_patches_of_five_slices_segment_vertebrae_better_with_dinov2(tasks, encoders):
    labelled = tasks["vertebrae:any"]
    few = draw(labelled, 0, seed=0)
    judged = draw(labelled, 1, seed=0, training=FEW, validation=0).training
    apart = [
        key for key in judged if labelled.patient(key) not in {labelled.patient(one) for one in few.training}
    ]
    dice = {}
    for name, encoder in encoders.items():
        scores, _ = learned(taught(encoder, labelled, few.training), [], 2, PatchProbe(l2=(1e-2,)))
        dice[name] = mean_dice(scores, taught(encoder, labelled, apart), 2)
    assert dice["trained"] > dice["random"] + 0.05
    assert dice["trained"] > 0.2


def test_body_parts_are_told_apart_by_dinov2_for_patients_never_seen(tasks, encoders):
    found = {}
    for name, encoder in encoders.items():
        columns = []
        for task, labelled in tasks.items():
            for volume in labelled.volumes:
                (index,) = evenly(len(volume.image), 1)
                vector = features_of(encoder.at_size(112), "mean", volume.image[index][None], 1)[0]
                columns.append((vector, task, f"{task} {volume.patient}", f"{task} {volume.case}/{index}"))
        vectors, *texts = zip(*columns, strict=True)
        slices = Probed(np.stack(vectors), *(np.array(text) for text in texts))
        rows = [
            row for number in range(3) for row in run_draw(name, "body", slices, number, 0, StrictProbe())
        ]
        found[name] = np.mean([row.value for row in rows if row.metric == "accuracy"])
    assert found["trained"] > 0.9
    assert found["trained"] >= found["random"]
