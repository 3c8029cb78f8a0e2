"""Take the images of labelled tasks into a dataset for pretraining, without masks.

    python jobs/curate_tasks.py DESTINATION TASK=ROOT [TASK=ROOT ...]

Only patients of each task's pool are taken; that none who is judged got in is checked before the dataset is
written. DESTINATION is new, or holds what jobs/curate.py or this script curated under the same policy and
key. The same command adds nothing twice.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.config.task import task_names
from mricore.workflows.curate_tasks import TaskCurationRequest, curate_tasks_job
from mricore.workflows.entry import add_setting_arguments, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and curate."""
    parser = argparse.ArgumentParser(
        prog="jobs/curate_tasks.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("destination", help="folder or s3:// address of the dataset")
    parser.add_argument(
        "tasks",
        nargs="+",
        metavar="TASK=ROOT",
        help=f"a task's TOML file or one of: {', '.join(task_names())}, and the folder with its data",
    )
    parser.add_argument(
        "--policy",
        default="body",
        metavar="NAME|FILE",
        help="what is wanted: body (default), musculoskeletal, or a TOML file (docs/policies.md)",
    )
    add_setting_arguments(parser)
    options = parser.parse_args(arguments)
    curate_tasks_job(
        TaskCurationRequest(
            destination=options.destination,
            tasks=options.tasks,
            policy=options.policy,
            assignments=options.assignments,
            key_file=options.key,
        )
    )


if __name__ == "__main__":
    sys.exit(run(main))
