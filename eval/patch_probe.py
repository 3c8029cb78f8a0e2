"""Segmentation from the frozen patch features of a few slices: few-shot segmentation in seconds.

    python eval/patch_probe.py abdomen --data DATA --encoder ours=FOLDER --encoder DINOv2=dinov2:FILE

Mode "linear" is logistic regression on patches, "knn" the vote of the nearest patches.
"""

import sys
from collections.abc import Sequence

from mricore.workflows.entry import run
from mricore.workflows.evaluate import evaluate
from mricore.workflows.evaluation_arguments import evaluation_parser, request_of
from mricore.workflows.patch_probe import PATCH_PROBE


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the evaluation."""
    parser = evaluation_parser("eval/patch_probe.py", __doc__, PATCH_PROBE.modes, PATCH_PROBE.draws)
    evaluate(request_of(parser.parse_args(arguments)), PATCH_PROBE)


if __name__ == "__main__":
    sys.exit(run(main))
