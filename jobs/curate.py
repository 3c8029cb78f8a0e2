"""Curate a folder or bucket of DICOM into de-identified slice shards with a manifest.

    python jobs/curate.py SOURCE DESTINATION

SOURCE and DESTINATION are folders or s3:// addresses. Files in SOURCE are only read. The same command goes on
where it was interrupted, and adds to DESTINATION what has become new in SOURCE.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.workflows.curate import CurationRequest, curate_job
from mricore.workflows.entry import add_setting_arguments, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and curate."""
    parser = argparse.ArgumentParser(
        prog="jobs/curate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="folder or s3:// address with DICOM files")
    parser.add_argument("destination", help="folder or s3:// address of the dataset")
    parser.add_argument(
        "--policy",
        default="body",
        metavar="NAME|FILE",
        help="what is wanted: body (default), musculoskeletal, or a TOML file (docs/policies.md)",
    )
    parser.add_argument(
        "--exams",
        metavar="TABLE",
        help="take only the exams of this table (CSV or Parquet: accession number and report type)",
    )
    parser.add_argument(
        "--columns",
        default="",
        metavar="ROLE=NAME,...",
        help="columns of that table if their names are unusual, e.g. accession=ACC,type=EXAM",
    )
    add_setting_arguments(parser)
    options = parser.parse_args(arguments)
    curate_job(
        CurationRequest(
            source=options.source,
            destination=options.destination,
            policy=options.policy,
            assignments=options.assignments,
            key_file=options.key,
            exams=options.exams,
            columns=options.columns,
        )
    )


if __name__ == "__main__":
    sys.exit(run(main))
