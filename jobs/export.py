"""Export a registered encoder as a file that other projects load as it is.

    python jobs/export.py models:/mri-core@champion sam encoder_sam_vit_b.pth --base sam_vit_b_01ec64.pth
    python jobs/export.py models:/mri-core@champion mri_foundation encoder.pth
    python jobs/export.py models:/mri-core@champion dinov2 encoder.pth

The Python that it prints loads the file with the other project's own code. docs/weights.md tells which format
suits which encoder, and what the other side does with the file.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mricore.model.weights.exports import FORMATS
from mricore.workflows.entry import run
from mricore.workflows.export import export_model


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print what was written."""
    parser = argparse.ArgumentParser(
        prog="jobs/export.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="models:/name@alias, models:/name/version, or a folder")
    parser.add_argument("format", choices=tuple(FORMATS), help="whose file it becomes")
    parser.add_argument("file", type=Path, help="the file to write; its name ends in .pth")
    parser.add_argument(
        "--base",
        type=Path,
        metavar="SAM_FILE",
        help="a whole SAM file, for the prompt encoder and mask decoder (sam) or the neck (mri_foundation)",
    )
    options = parser.parse_args(arguments)
    for line in export_model(options.model, options.format, options.file, options.base):
        print(line)


if __name__ == "__main__":
    sys.exit(run(main))
