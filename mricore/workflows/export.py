"""A registered encoder as a file for others."""

from __future__ import annotations

from pathlib import Path

from mricore.errors import UserError
from mricore.model.weights.export_files import read_base, require_free, write_export
from mricore.model.weights.exports import FORMATS, Format
from mricore.model.weights.known import verified
from mricore.model.weights.snippets import snippets
from mricore.registry.load import load, version_of


def export_model(uri: str, format_: Format, target: Path, base: Path | None = None) -> list[str]:
    """Write an encoder in another project's format; the lines tell what the file holds and how it is loaded.

    Raises:
        UserError: there is no such encoder, the format cannot hold it, or the file cannot be written.
    """
    require_free(target, format_)
    if base is not None and format_ == "dinov2":
        raise UserError("the format dinov2 takes nothing from a SAM file", "leave --base out")
    lines = [f"base {base}: {verified(base)}"] if base is not None else []
    completing = None if base is None else read_base(base)
    version = version_of(uri)
    embedder = load(version)
    export = FORMATS[format_](embedder, completing)
    write_export(target, export)
    named = uri if version == uri else f"{uri}, now {version},"
    told = [f"{named} as {format_}: {target}", *(f"  {line}" for line in (*lines, *export.notes))]
    for one in snippets(format_, embedder.settings, target):
        told += ["", f"To load it with {one.project}:", "", "```python", one.code.rstrip(), "```"]
    return told
