"""One page with the paper's figures and tables for your encoders, from the folders of evaluations.

python eval/report.py outputs/evaluation --baseline SAM --figures outputs/figures
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.workflows.entry import run
from mricore.workflows.evaluation_report import TITLE, report_evaluation


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print where the page is."""
    parser = argparse.ArgumentParser(
        prog="eval/report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS", help="folder or s3:// address that an evaluation wrote to"
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="encoder that others are compared with (default: the random one)"
    )
    parser.add_argument("--title", default=TITLE, help="heading of the page (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="the page (default: report.html in the first folder)")
    parser.add_argument(
        "--figures", metavar="DIR", help="also write each figure as SVG and PDF, and the tables as CSV"
    )
    options = parser.parse_args(arguments)
    for line in report_evaluation(
        options.results, options.baseline, options.title, options.out, options.figures
    ):
        print(line)


if __name__ == "__main__":
    sys.exit(run(main))
