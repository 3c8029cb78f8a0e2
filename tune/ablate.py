"""Train the arms of a study on the same data, judge them on the same patients, and compare them.

    python tune/ablate.py
    python tune/ablate.py --study paper --data s3://bucket/dataset --task chaos=ROOT \\
        --set initial.weights=sam_vit_b_01ec64.pth --dry-run
    python tune/ablate.py --arm low=optimizer.lr=1e-4 --arm high=optimizer.lr=1e-3,train.epochs=2

Equal arms are trained once. The same command continues a study that was interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.config.recipes import RECIPES
from mricore.config.study import study_names
from mricore.workflows.ablate import DEFAULT, AblationRequest, ablate, parse_arms
from mricore.workflows.entry import add_setting_arguments, run, whole_number
from mricore.workflows.few_shot import FEW_SHOT
from mricore.workflows.study_judging import DRAWS, MODE


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the study."""
    parser = argparse.ArgumentParser(
        prog="tune/ablate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--study", metavar="NAME|FILE", help=f"one of: {', '.join(study_names())} ({DEFAULT})")
    add("--arm", action="append", default=[], metavar="NAME=SETTINGS", help="repeatable")
    add("--recipe", metavar="R", help=f"instead of the study's own; one of: {', '.join(RECIPES)}")
    add("--task", action="append", default=[], metavar="NAME=ROOT", help="labelled task (repeatable)")
    add("--mode", choices=FEW_SHOT.modes, help=f"of few-shot, if the study has no [[judge]] ({MODE})")
    add(
        "--draws",
        type=whole_number(1),
        metavar="N",
        help=f"of every judge (few-shot without [[judge]]: {DRAWS})",
    )
    add("--decoder", metavar="FILE", help="of SAM, whose mask decoder the encoders are given")
    add("--data", metavar="URI", help="curated dataset or raw DICOM (default: generated phantoms)")
    add("--out", metavar="URI", help="where datasets, runs and studies go (default: outputs/)")
    add("--max-concurrent", type=whole_number(1), default=1, metavar="N", help="trainings at once (1)")
    add("--dry-run", action="store_true", help="tell the trainings and what they take; train nothing")
    add_setting_arguments(parser)
    options = vars(parser.parse_args(arguments))
    ablate(
        AblationRequest(
            arms=parse_arms(options.pop("arm")),
            tasks=tuple(options.pop("task")),
            assignments=tuple(options.pop("assignments")),
            key_file=options.pop("key"),
            **options,
        )
    )


if __name__ == "__main__":
    sys.exit(run(main))
