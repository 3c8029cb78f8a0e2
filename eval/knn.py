"""k-NN accuracy of body location, sequence, plane and vendor for a registered encoder, with intervals.

python eval/knn.py models:/mri-core@champion outputs/datasets/NAME
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.workflows.entry import run, whole_number
from mricore.workflows.judgement import judge_model


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print one line per task."""
    parser = argparse.ArgumentParser(
        prog="eval/knn.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="models:/name@alias, models:/name/version, or a folder")
    parser.add_argument("dataset", help="curated dataset, a folder or s3:// address")
    parser.add_argument(
        "--limit", type=whole_number(1), default=1000, help="slices to look at (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        default=0,
        help="choice of slices and bootstrap (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    for line in judge_model(options.model, options.dataset, options.limit, options.seed):
        print(line)


if __name__ == "__main__":
    sys.exit(run(main))
