"""Studies that train in this process: the seam where Ray Tune would run is taken by a loop."""

import tempfile
from pathlib import Path

from small import SMALL, small_loop

from mricore.data.storage import Place
from mricore.training.checkpoint import CheckpointInfo, save_checkpoint
from mricore.training.kept import KeptEpochs
from mricore.tuning.study import Outcome

CHECKPOINT = "checkpoint_2026-01-01_00-00-00.000000"
QUICK = (
    *SMALL,
    "model.neck_dim=16",
    "train.workers=1",
    "train.batch_size=32",
    "few_shot.epochs=2",
    "few_shot.least_epochs=1",
    "few_shot.image_size=32",
)


class Here:
    """Takes the place of ``run_study``.

    ``breaks`` maps seeds to outcomes' problems; ``dies_after`` so many trainings the process is "killed".
    """

    def __init__(self, breaks=None, dies_after=None):
        self.breaks, self.dies_after = breaks or {}, dies_after
        self.trained = []

    def __call__(self, trials, dataset, runs, max_concurrent, ended, told):
        for trial in trials:
            if self.dies_after is not None and len(self.trained) >= self.dies_after:
                raise KeyboardInterrupt
            self.trained.append(trial.run)
            told(trial.run, "step 1/2")
            problem = self.breaks.get(trial.recipe.seed)
            if problem:
                ended(Outcome(trial.run, **problem))
                continue
            train_here(trial.recipe, dataset, Place(runs.joined(trial.run)))
            ended(Outcome(trial.run, CHECKPOINT, seconds=1.0))


def train_here(recipe, dataset, run):
    """What a worker leaves in the folder of a run."""
    loop, kept = small_loop(dataset, recipe), KeptEpochs(*run.arrow(""))
    for report in loop.run():
        if report.keep or report.step == loop.total:
            with tempfile.TemporaryDirectory() as folder:
                info = CheckpointInfo(report.step, loop.steps_per_epoch, "", recipe)
                save_checkpoint(Path(folder), loop.state, info)
                if report.keep:
                    kept.keep(Path(folder), report.keep)
                if report.step == loop.total:
                    for file in Path(folder).iterdir():
                        run.write_bytes(f"{CHECKPOINT}/{file.name}", file.read_bytes())
