"""Encoders side by side: means with 95% intervals over patients and draws, paired differences, corrected p.

python eval/compare.py outputs/few_shot [MORE RESULTS ...] --baseline sam --metric dice_3d
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.workflows.compare import compare_results
from mricore.workflows.entry import run, whole_number


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, print the table and write comparison.csv."""
    parser = argparse.ArgumentParser(
        prog="eval/compare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", help="folders that evaluations wrote, local or s3://")
    parser.add_argument(
        "--baseline", metavar="NAME", help="compare each encoder with this one, not all pairs"
    )
    parser.add_argument(
        "--metric",
        dest="metrics",
        action="append",
        metavar="NAME",
        help="e.g. dice_3d (repeatable); default: all, and p is corrected for all",
    )
    parser.add_argument(
        "--detect",
        type=float,
        metavar="DIFFERENCE",
        help="tell how many draws and patients show a difference of this size, e.g. 0.02",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where comparison.csv goes (default: first results)")
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="of bootstrap and simulation (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    for line in compare_results(**vars(options)):
        print(line)


if __name__ == "__main__":
    sys.exit(run(main))
