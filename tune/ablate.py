"""Compare settings by whole trainings on the same data; by default the paper's two learning rates.

    python tune/ablate.py --arm low=optimizer.lr=1e-4 --arm high=optimizer.lr=1e-3,train.epochs=2

The same command continues a study that was interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.config.recipes import RECIPES
from mricore.workflows.ablate import AblationRequest, ablate, parse_arms
from mricore.workflows.entry import add_setting_arguments, run, whole_number


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the study."""
    parser = argparse.ArgumentParser(
        prog="tune/ablate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipe", nargs="?", default="tiny", help=f"one of: {', '.join(RECIPES)} (default: tiny)"
    )
    parser.add_argument("--arm", action="append", default=[], metavar="NAME=SETTINGS", help="repeatable")
    parser.add_argument(
        "--data", metavar="URI", help="curated dataset or raw DICOM (default: generated phantoms)"
    )
    parser.add_argument("--out", metavar="URI", help="where datasets and runs go (default: outputs/)")
    parser.add_argument(
        "--max-concurrent",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="trainings at once (default: 1)",
    )
    add_setting_arguments(parser)
    options = parser.parse_args(arguments)
    ablate(
        AblationRequest(
            recipe=options.recipe,
            assignments=tuple(options.assignments),
            arms=parse_arms(options.arm),
            data=options.data,
            out=options.out,
            key_file=options.key,
            max_concurrent=options.max_concurrent,
        )
    )


if __name__ == "__main__":
    sys.exit(run(main))
