"""Linear probe: what a linear classifier reads off frozen features, with patients split anew in each draw.

    python eval/linear_probe.py phantoms --category sequence --encoder ours=models:/mri-core@champion
    python eval/linear_probe.py abdomen=DATA1 vertebrae:any=DATA2 --encoder SAM=sam:sam_vit_b_01ec64.pth

Several tasks are told apart by their body part, as in the paper. Mode "paper" picks the best epoch on the
slices that it reports; "strict" chooses nothing on them.
"""

import sys
from collections.abc import Sequence

from mricore.workflows.entry import run
from mricore.workflows.evaluate import evaluate
from mricore.workflows.evaluation_arguments import evaluation_parser, request_of
from mricore.workflows.linear_probe import LINEAR_PROBE


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the evaluation."""
    parser = evaluation_parser("eval/linear_probe.py", __doc__, LINEAR_PROBE.modes, LINEAR_PROBE.draws)
    parser.add_argument(
        "--category", metavar="NAME", help="what to tell apart: a category of the tasks, or task"
    )
    evaluate(request_of(parser.parse_args(arguments)), LINEAR_PROBE)


if __name__ == "__main__":
    sys.exit(run(main))
