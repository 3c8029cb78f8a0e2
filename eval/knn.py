"""Nearest neighbours: whether slices of other patients with similar features are of the same category.

    python eval/knn.py phantoms --category sequence --encoder ours=models:/mri-core@champion
    python eval/knn.py abdomen=DATA1 vertebrae:any=DATA2 --encoder SAM=sam:sam_vit_b_01ec64.pth
    python eval/knn.py --dataset DATASET --encoder ours=models:/mri-core@champion --encoder random=random:ours

Several tasks are told apart by their body part. A curated dataset is judged by location, sequence, plane and
vendor. Nothing is trained and nothing drawn; neighbours never come from the slice's own patient.
"""

import sys
from collections.abc import Sequence

from mricore.workflows.entry import run
from mricore.workflows.evaluate import evaluate
from mricore.workflows.evaluation_arguments import evaluation_parser, request_of
from mricore.workflows.knn import KNN


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the evaluation."""
    parser = evaluation_parser("eval/knn.py", __doc__, KNN.modes, KNN.draws, tasks="*")
    parser.add_argument("--dataset", metavar="DATASET", help="curated dataset, in the place of tasks")
    parser.add_argument(
        "--category", metavar="NAME", help="what to tell apart: a category of the tasks or dataset, or task"
    )
    evaluate(request_of(parser.parse_args(arguments)), KNN)


if __name__ == "__main__":
    sys.exit(run(main))
