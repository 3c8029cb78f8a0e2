"""Curate a folder or bucket of DICOM into de-identified slice shards with a manifest.

    python jobs/curate.py SOURCE DESTINATION

SOURCE and DESTINATION are folders or s3:// addresses. Files in SOURCE are only read.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.workflows.curate import curate_job
from mricore.workflows.entry import add_setting_arguments, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and curate."""
    parser = argparse.ArgumentParser(
        prog="jobs/curate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="folder or s3:// address with DICOM files")
    parser.add_argument("destination", help="folder or s3:// address of the new dataset")
    add_setting_arguments(parser)
    options = parser.parse_args(arguments)
    curate_job(options.source, options.destination, options.assignments, options.key)


if __name__ == "__main__":
    sys.exit(run(main))
