"""Pretrain an MRI encoder: DICOM or a curated dataset in, a registered model and a report out.

    python jobs/pretrain.py                                   # tiny recipe on generated phantoms
    python jobs/pretrain.py vitb16_mri --data s3://bucket/dataset --set train.epochs=8

The same command continues a run that was interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.config.recipes import RECIPES
from mricore.workflows.entry import add_setting_arguments, run
from mricore.workflows.pretrain import Request, pretrain


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and pretrain."""
    parser = argparse.ArgumentParser(
        prog="jobs/pretrain.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipe", nargs="?", default="tiny", help=f"one of: {', '.join(RECIPES)} (default: tiny)"
    )
    parser.add_argument(
        "--data", metavar="URI", help="curated dataset or raw DICOM (default: generated phantoms)"
    )
    parser.add_argument(
        "--out", metavar="URI", help="where datasets, runs and reports go (default: outputs/)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start a new run even if there is one to continue"
    )
    add_setting_arguments(parser)
    options = parser.parse_args(arguments)
    pretrain(
        Request(
            recipe=options.recipe,
            assignments=tuple(options.assignments),
            data=options.data,
            out=options.out,
            key_file=options.key,
            fresh=options.fresh,
        )
    )


if __name__ == "__main__":
    sys.exit(run(main))
