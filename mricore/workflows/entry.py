"""What every entry point shares: exit codes, one clear line for a user's mistake, common arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mricore.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError

DEFAULT_KEY = Path("~/.mricore/pseudonym.key")


def run(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> int:
    """Call ``main`` and return the exit code: 0 done, 2 the user's input is wrong, 130 interrupted.

    A fault of ours passes through with its traceback, and Python then exits with 1.
    """
    try:
        _require_text(sys.argv[1:] if arguments is None else arguments)
        main(arguments)
    except UserError as error:
        print(f"error: {error.problem}\n       {error.remedy}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_DONE


def _require_text(arguments: Sequence[str]) -> None:
    """Refuse names in another encoding: Ray keeps the command line, and neither it nor Arrow takes them."""
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise UserError(
            "an argument is not UTF-8 text", "rename the folder, or give a link to it with a plain name"
        ) from None


def whole_number(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number that is not below ``least``."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return parse


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """``--set`` and ``--key``, which all jobs that touch DICOM or train accept."""
    parser.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, e.g. --set optimizer.lr=1e-4 (repeatable)",
    )
    parser.add_argument(
        "--key",
        type=Path,
        default=DEFAULT_KEY,
        metavar="FILE",
        help="secret key of the pseudonyms, made on first use (default: %(default)s)",
    )
