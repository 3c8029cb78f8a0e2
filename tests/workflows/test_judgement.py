"""What is judged: the shipped teacher against the network before the first step, with the right labels."""

import numpy as np
import torch
from records import small_dataset
from small import small_recipe

from mricore.data.storage import place
from mricore.evaluation.labelled import TASKS
from mricore.model.embedder import Embedder
from mricore.training.checkpoint import CheckpointInfo, read_shipped, save_checkpoint
from mricore.training.initial import initial_network, initial_state
from mricore.workflows import judgement


def test_the_teacher_is_compared_with_the_beginning(tmp_path, monkeypatch):
    dataset = place(str(tmp_path / "dataset"))
    manifest = small_dataset(dataset, 40)
    recipe = small_recipe()
    state = initial_state(recipe, torch.device("cpu"))
    with torch.no_grad():
        for parameter in state.teacher.parameters():
            parameter.add_(0.05)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    save_checkpoint(checkpoint, state, CheckpointInfo(3, 5, manifest.digest, recipe))
    assert torch.equal(read_shipped(checkpoint)[1].mask_token, state.teacher.mask_token)

    seen = []
    monkeypatch.setattr(judgement, "judge", lambda *given: seen.extend(given) or [])
    made = judgement.judge_run(checkpoint, recipe, dataset, manifest)
    slices, after, before, _ = seen

    def embedded(network):
        return judgement.embed_slices(Embedder.from_network(network, recipe.model, 32), slices.images)

    np.testing.assert_allclose(after, embedded(state.teacher), atol=1e-5)
    np.testing.assert_allclose(before, embedded(initial_network(recipe)[0]), atol=1e-5)
    for task in TASKS:
        assert slices.categories[task].tolist() == [getattr(one, task) for one in made.samples]
