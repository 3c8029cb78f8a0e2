"""What the scripts of ``eval/`` share: arguments, and what they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mricore.config.task import task_names
from mricore.evaluation.tasks.splits import Part
from mricore.workflows.entry import whole_number


@dataclass(frozen=True)
class EvaluationRequest:
    """The command line of an evaluation."""

    tasks: tuple[str, ...]
    data: str | None
    encoders: tuple[str, ...]
    mode: str
    draws: int = 1
    seed: int = 0
    part: Part = "test"
    assignments: tuple[str, ...] = ()
    out: str | None = None
    pretraining: str | None = None
    baseline: str | None = None
    category: str | None = None
    dataset: str | None = None
    nnunet: bool = False
    decoder: str | None = None
    features: str | None = None
    """Folder of features that several evaluations share; by default one in ``out``."""


def evaluation_parser(
    script: str, told: str | None, modes: Sequence[str], draws: int | None, tasks: str = "+"
) -> argparse.ArgumentParser:
    """The parser of a script; ``told`` is its docstring, ``modes`` begins with the default.

    Without ``draws`` nothing is drawn at random, and there is no such argument; ``tasks`` is how many are
    named, as argparse writes it.
    """
    parser = argparse.ArgumentParser(
        prog=script, description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tasks",
        nargs=tasks,
        metavar="TASK[=ROOT]",
        help=f"a task's TOML file or one of: {', '.join(task_names())}; TASK:CLASS keeps a class",
    )
    parser.add_argument("--data", metavar="ROOT", help="folder with the data of tasks that name no ROOT")
    parser.add_argument(
        "--encoder",
        dest="encoders",
        action="append",
        required=True,
        metavar="NAME=KIND:FILE",
        help="sam, medsam, mri_core, dinov2 or mae with a file, mricore with a folder, random with a recipe "
        "or another NAME, or NAME=models:/name@alias (repeatable)",
    )
    parser.add_argument("--mode", "--preset", choices=modes, default=modes[0], help="(default: %(default)s)")
    if draws is not None:
        parser.add_argument("--draws", type=whole_number(1), default=draws, help="(default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="of all that is random (default: %(default)s)"
    )
    parser.add_argument(
        "--part", choices=("test", "development"), default="test", help="who is judged (default: %(default)s)"
    )
    parser.add_argument("--baseline", metavar="NAME", help="the encoder that others are compared with")
    parser.add_argument(
        "--pretraining", metavar="DATASET", help="curated dataset; tells whether it holds slices of the tasks"
    )
    parser.add_argument("--out", metavar="URI", help="folder or s3:// (default: outputs/evaluation)")
    parser.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, e.g. --set run.gpus=1 (repeatable)",
    )
    return parser


def request_of(options: argparse.Namespace) -> EvaluationRequest:
    """The parsed command line, lists as tuples."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(options).items()
    }
    return EvaluationRequest(**given)
