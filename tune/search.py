"""Search learning rate, momentum, temperatures and augmentation by whole trainings on the same data.

    python tune/search.py --recipe tiny --samples 8 --scheduler asha
    python tune/search.py --recipe vitb16_mri --data s3://bucket/mri --task chaos=/data/chaos --searcher bayes

Each training is scored by segmentation on a labelled task. The same command continues; see docs/search.md.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.config.recipes import RECIPES
from mricore.tuning.search import SCHEDULERS, SEARCHERS
from mricore.workflows.entry import add_setting_arguments, run, whole_number
from mricore.workflows.search import SearchRequest, search


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the search."""
    parser = argparse.ArgumentParser(
        prog="tune/search.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--recipe", default="tiny", help=f"one of: {', '.join(RECIPES)} (default: tiny)")
    add("--data", metavar="URI", help="curated dataset or raw DICOM (default: generated phantoms)")
    add("--out", metavar="URI", help="where datasets, runs and searches go (default: outputs/)")
    add("--task", metavar="NAME=ROOT", help="labelled task that scores (default: phantoms, for phantoms)")
    add("--scheduler", choices=SCHEDULERS, default="none", help="what stops bad trials (default: none)")
    add("--searcher", choices=SEARCHERS, default="random", help="what proposes settings (default: random)")
    add("--samples", type=whole_number(1), default=8, metavar="N", help="trials (default: 8)")
    add("--max-concurrent", type=whole_number(1), default=1, metavar="N", help="at once (default: 1)")
    add("--space", metavar="FILE", help="what is tried, as TOML (default: see docs/search.md)")
    add("--seed", type=whole_number(0), default=0, help="of what is proposed (default: 0)")
    add_setting_arguments(parser)
    options = vars(parser.parse_args(arguments))
    key, assignments = options.pop("key"), tuple(options.pop("assignments"))
    search(SearchRequest(key_file=key, assignments=assignments, **options))


if __name__ == "__main__":
    sys.exit(run(main))
