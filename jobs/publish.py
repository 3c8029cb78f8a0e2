"""Publish an encoder in MLflow's registry; the alias moves if it is shown to be better than the champion.

    python jobs/publish.py RUN --name mri-core --evaluation outputs/evaluation/few_shot
    python jobs/publish.py --demote --reason TEXT
    python jobs/publish.py --rollback 3 --reason TEXT
    python jobs/publish.py --lineage models:/mri-core@champion

RUN is a run's name under OUT/runs, its MLflow run id, or studies/NAME/ARM. The rule of the gate, and why:
docs/decisions/0012-promotion.md.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.workflows.entry import run
from mricore.workflows.publish import publish, request_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(
        prog="jobs/publish.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="what is published")
    parser.add_argument("--name", default="mri-core", help="registered model (default: %(default)s)")
    parser.add_argument("--alias", default="champion", help="(default: %(default)s)")
    parser.add_argument("--out", metavar="URI", help="where runs and studies lie (default: outputs/)")
    parser.add_argument(
        "--evaluation",
        dest="evaluations",
        action="append",
        default=[],
        metavar="FOLDER",
        help="an evaluation of the encoder, for the card, and for the gate if it judged both (repeatable)",
    )
    parser.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the rule, e.g. --set promotion.margin=0.01 (repeatable)",
    )
    parser.add_argument("--demote", action="store_true", help="give the alias back to the version before")
    parser.add_argument("--rollback", metavar="VERSION", help="give the alias to a version, past the gate")
    parser.add_argument("--reason", default="", metavar="TEXT", help="recorded with --demote and --rollback")
    parser.add_argument("--lineage", metavar="URI", help="tell what made a version")
    publish(request_of(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(run(main))
