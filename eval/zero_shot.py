"""Zero-shot segmentation: k-means on patch features, with raw pixels as the baseline.

    python eval/zero_shot.py abdomen --data DATA --encoder ours=models:/mri-core@champion

Mode "paper" reads off the truth which cluster is what; "strict" learns that from other patients.
"""

import sys
from collections.abc import Sequence

from mricore.workflows.entry import run
from mricore.workflows.evaluate import evaluate
from mricore.workflows.evaluation_arguments import evaluation_parser, request_of
from mricore.workflows.zero_shot import ZERO_SHOT


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the evaluation."""
    parser = evaluation_parser("eval/zero_shot.py", __doc__, ZERO_SHOT.modes, ZERO_SHOT.draws)
    evaluate(request_of(parser.parse_args(arguments)), ZERO_SHOT)


if __name__ == "__main__":
    sys.exit(run(main))
