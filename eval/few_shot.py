"""Few-shot segmentation with frozen encoders: adapters and SAM's decoder on five slices, in ten draws.

    python eval/few_shot.py abdomen --data DATA --encoder ours=models:/mri-core@champion \\
        --encoder SAM=sam:sam_vit_b_01ec64.pth --encoder random=random:SAM --baseline SAM

Mode "paper" repeats the published code, "strict" mends its faults, "cpu" is strict at a small size. The same
command goes on after an interruption.
"""

import sys
from collections.abc import Sequence

from mricore.workflows.entry import run
from mricore.workflows.evaluate import evaluate
from mricore.workflows.evaluation_arguments import evaluation_parser, request_of
from mricore.workflows.few_shot import FEW_SHOT


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the evaluation."""
    parser = evaluation_parser("eval/few_shot.py", __doc__, FEW_SHOT.modes, FEW_SHOT.draws)
    parser.add_argument(
        "--nnunet", action="store_true", help="nnU-Net competes; it needs nnunetv2, see docs/evaluation.md"
    )
    parser.add_argument(
        "--decoder", metavar="FILE", help="SAM's file, whose decoder encoders without one get, as published"
    )
    evaluate(request_of(parser.parse_args(arguments)), FEW_SHOT)


if __name__ == "__main__":
    sys.exit(run(main))
