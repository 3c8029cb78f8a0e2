"""Tell what a pretraining will take on so many GPUs (or CPU workers), before it is begun.

    python jobs/plan.py vitb16_mri --data s3://bucket/dataset
    python jobs/plan.py vitb16_mri --slices 6100000 --gpus 4,8,16 --bandwidth 25
    python jobs/plan.py tiny --data outputs/datasets/mine --set train.batch_size=64

Takes about a minute of real steps and reads on this machine; nothing is trained or kept.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mricore.config.recipes import RECIPES
from mricore.workflows.entry import run, whole_number
from mricore.workflows.plan import PlanRequest, plan


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="jobs/plan.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("recipe", help=f"one of: {', '.join(RECIPES)}")
    add("--data", metavar="URI", help="curated dataset; its reading is measured too")
    add(
        "--slices", type=whole_number(1), metavar="N", help="plan for so many slices (default: all of --data)"
    )
    add(
        "--gpus", "--workers", metavar="LIST", default="", help="default: 1,2,4,8 as far as data.lanes allows"
    )
    add("--together", type=whole_number(1), default=1, metavar="N", help="workers that share a machine (1)")
    add("--seconds", type=float, default=60.0, help="for measuring; long steps take longer (60)")
    add("--bandwidth", type=float, metavar="GB/S", help="of gradients (default: 10; CPUs: 1)")
    add("--json", type=Path, metavar="FILE", help="write all numbers here")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting (repeatable)")
    options = parser.parse_args(arguments)
    plan(
        PlanRequest(
            recipe=options.recipe,
            assignments=tuple(options.set),
            data=options.data,
            slices=options.slices,
            workers=options.gpus,
            together=options.together,
            seconds=options.seconds,
            gigabytes_per_s=options.bandwidth,
            json_file=options.json,
        )
    )


if __name__ == "__main__":
    sys.exit(run(main))
