"""Compressed frames in encapsulated pixel data (PS3.5, A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from mricore.imaging.elements import ITEM
from mricore.imaging.files import Source

MAX_FRAGMENTS = 1 << 20
_HEAD = struct.Struct("<HHL")
_TAIL = 10
_END_OF_IMAGE = b"\xff\xd9"


class Fragment(NamedTuple):
    """Where a fragment lies in the file."""

    start: int
    length: int


def compressed_frames(source: Source, start: int, frames: Sequence[int], count: int) -> Iterator[bytes]:
    """The codestreams of some of ``count`` frames, of pixel data whose value begins at ``start``.

    Fragments are listed once; only those of the frames asked for are read.

    Raises:
        EOFError: the pixel data are cut.
        ValueError: nothing tells which fragments belong to which frame.
    """
    table, *fragments = _fragments(source, start)
    groups = _grouped(source, table, fragments, count)
    for frame in frames:
        yield b"".join(_read(source, fragment) for fragment in groups[frame])


def _fragments(source: Source, position: int) -> list[Fragment]:
    """The basic offset table, then the fragments."""
    found: list[Fragment] = []
    while len(found) <= MAX_FRAGMENTS:
        source.seek(position)
        head = source.read(_HEAD.size)
        if len(head) < _HEAD.size:
            break
        group, element, length = _HEAD.unpack(head)
        if group << 16 | element != ITEM:
            break
        found.append(Fragment(position + _HEAD.size, length))
        position += _HEAD.size + length
    if len(found) < 2 or len(found) > MAX_FRAGMENTS:
        raise ValueError("no fragments, or too many")
    _read(source, Fragment(position - 1, 1))
    return found


def _read(source: Source, fragment: Fragment) -> bytes:
    source.seek(fragment.start)
    content = source.read(fragment.length)
    if len(content) < fragment.length:
        raise EOFError
    return content


def _grouped(
    source: Source, table: Fragment, fragments: Sequence[Fragment], count: int
) -> list[Sequence[Fragment]]:
    """The fragments of each frame: one each, or as the offset table or the ends of the codestreams tell."""
    if count == 1:
        return [fragments]
    if len(fragments) == count:
        return [[fragment] for fragment in fragments]
    firsts = _firsts_by_table(_read(source, table), fragments)
    if len(firsts) != count:
        firsts = _firsts_by_ends(source, fragments)
    if len(firsts) != count:
        raise ValueError("fragments without frames")
    return [fragments[first:after] for first, after in pairwise([*firsts, len(fragments)])]


def _firsts_by_table(table: bytes, fragments: Sequence[Fragment]) -> list[int]:
    """The first fragment of each frame, by the offsets of their heads from that of the first."""
    index = {fragment.start - fragments[0].start: k for k, fragment in enumerate(fragments)}
    offsets = [offset for (offset,) in struct.iter_unpack("<L", table[: len(table) // 4 * 4])]
    firsts = [index.get(offset, -1) for offset in offsets]
    return firsts if firsts[:1] == [0] and all(a < b for a, b in pairwise(firsts)) else []


def _firsts_by_ends(source: Source, fragments: Sequence[Fragment]) -> list[int]:
    """The first fragment of each frame, if every codestream ends with its end marker."""
    ends = [_END_OF_IMAGE in _read(source, _tail(fragment)) for fragment in fragments]
    return [k for k in range(len(fragments)) if k == 0 or ends[k - 1]]


def _tail(fragment: Fragment) -> Fragment:
    length = min(_TAIL, fragment.length)
    return Fragment(fragment.start + fragment.length - length, length)
