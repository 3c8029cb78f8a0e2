"""DICOM bytes -> where the value of each attribute lies (PS3.5, chapter 7); nothing is decoded here.

pydicom builds objects for all that it passes: 3 kB that inflate to empty items cost it 200 MB, and a frame
of an Enhanced object some milliseconds. This reader only notes places: time is bounded by the number of
bytes, memory by ``MAX_ELEMENTS``, and nesting does not recurse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView
from functools import cached_property
from itertools import islice
from struct import Struct

MAX_ELEMENTS = 1 << 12
"""Of one data set without those inside its sequences; real ones have some hundreds."""
_FREE_HEADS = 1 << 20
_BYTES_PER_HEAD = 2
"""A head has 8 bytes at least, and none of a real header needs to be looked at more than four times."""
SHORTEST_HEAD = 8
"""Bytes; also what delimiters have."""
UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
_IN_ITEM = range(0xFFFEE00D)
"""Tags below the delimiters of items and of sequences."""
_SEQUENCE_END = 0xFFFEE0DD
_DELIMITERS = 0xFFFE
_CHARSET = 0x00080005
_SHORT_FORM = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_FORM = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with lengths of 16 and of 32 bits; unknown ones have the former."""

Place = tuple[bytes, int, int]
"""Value representation (empty if implicit), first byte of the value, byte behind its last."""
Head = tuple[int, bytes, int, int]
"""What stands before a value: tag, value representation, first byte of the value, length of the value."""


def is_vr(code: bytes) -> bool:
    """Whether two bytes can be a value representation, as explicit encodings have there."""
    return code.isalpha() and code.isupper()


class Reader:
    """Finds attributes in bytes of one encoding; what is encoded implicitly among explicit is told apart.

    All methods raise EOFError if something announces more bytes than there are, ``struct.error`` if the
    bytes end inside an attribute's head, and ValueError for what no real file asks of them.
    """

    def __init__(self, content: bytes, *, explicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self.content = content
        self.order = order
        self._explicit = explicit
        self._heads_left = len(content) // _BYTES_PER_HEAD + _FREE_HEADS
        self._explicit_head = Struct(f"{order}HH2sH").unpack_from
        self._implicit_head = Struct(f"{order}HHL").unpack_from
        self._long = Struct(f"{order}L").unpack_from

    def head(self, position: int) -> Head:
        """The head of the attribute, item or delimiter at a position."""
        self._heads_left -= 1
        if self._heads_left < 0:
            raise ValueError("nested so that reading does not end")
        if self._explicit:
            group, element, vr, length = self._explicit_head(self.content, position)
            if group != _DELIMITERS:
                if vr in _SHORT_FORM:
                    return group << 16 | element, vr, position + 8, length
                if vr in _LONG_FORM:
                    (length,) = self._long(self.content, position + 8)
                    return group << 16 | element, vr, position + 12, length
                if is_vr(vr):
                    return group << 16 | element, vr, position + 8, length
        group, element, length = self._implicit_head(self.content, position)
        return group << 16 | element, b"", position + 8, length

    def scan(self, start: int, stop: int, tags: range = _IN_ITEM) -> tuple[dict[int, Place], int]:
        """Places of the attributes from ``start`` up to the first that is not among ``tags``.

        Returns them by tag, and the position of that one or of the end.
        """
        places: dict[int, Place] = {}
        position = start
        for _ in range(MAX_ELEMENTS):
            if stop - position < SHORTEST_HEAD:
                return places, position
            tag, vr, first, length = self.head(position)
            if tag not in tags:
                return places, position
            last = self._sequence_end(first) if length == UNDEFINED else first + length
            if last > stop:
                raise EOFError
            places[tag] = vr, first, last
            position = last
        raise ValueError("too many attributes")

    def items(self, place: Place) -> Iterator[dict[int, Place]]:
        """The data sets of a sequence, one after the other."""
        _, position, stop = place
        while stop - position >= SHORTEST_HEAD:
            tag, _, first, length = self.head(position)
            if tag != ITEM:
                return
            if length == UNDEFINED:
                places, end = self.scan(first, stop)
                position = end + SHORTEST_HEAD
            else:
                position = first + length
                if position > stop:
                    raise EOFError
                places, _ = self.scan(first, position)
            yield places

    def _sequence_end(self, position: int) -> int:
        """Behind the delimiter of a sequence of undefined length; whatever it contains is passed over."""
        depth = 1
        while depth:
            tag, _, position, length = self.head(position)
            if tag == _SEQUENCE_END:
                depth -= 1
            elif length != UNDEFINED:
                position += length
            elif tag != ITEM:
                depth += 1
        return position


class Elements:
    """The attributes of one data set by tag. ``charset`` is its Specific Character Set, or that around it."""

    def __init__(self, reader: Reader, places: dict[int, Place], charset: bytes = b"") -> None:
        self._reader = reader
        self._places = places
        self.charset = self.raw(_CHARSET) or charset

    def __contains__(self, tag: int) -> bool:
        return tag in self._places

    @property
    def order(self) -> str:
        """``<`` or ``>``, the byte order of binary values as in ``struct``."""
        return self._reader.order

    @property
    def tags(self) -> KeysView[int]:
        """The tags of all attributes, without those inside sequences."""
        return self._places.keys()

    def vr(self, tag: int) -> str:
        """The value representation that the file states; empty if it states none."""
        return self._places[tag][0].decode("ascii")

    def raw(self, tag: int, most: int | None = None) -> bytes:
        """The bytes of a value, ``most`` of them at most; empty if missing."""
        _, start, stop = self._places.get(tag, (b"", 0, 0))
        return self._reader.content[start : stop if most is None else min(stop, start + most)]

    def items(self, tag: int) -> Iterator[Elements]:
        """The data sets of a sequence; none if it is missing."""
        if tag in self._places:
            for places in self._reader.items(self._places[tag]):
                yield Elements(self._reader, places, self.charset)

    def over(self, other: Elements) -> Elements:
        """These attributes, and those of another data set of the file where these are missing or empty."""
        return Elements(self._reader, {**other._places, **self._given()}, self.charset)

    def first_items(self, tags: Iterable[int]) -> Elements:
        """The attributes of the first data sets of some sequences together; empty ones are left out."""
        places: dict[int, Place] = {}
        for tag in tags:
            for item in islice(self.items(tag), 1):
                places.update(item._given())
        return Elements(self._reader, places, self.charset)

    def only(self, wanted: Callable[[int], bool]) -> Elements:
        """The attributes with tags that are wanted."""
        chosen = {tag: place for tag, place in self._places.items() if wanted(tag)}
        return Elements(self._reader, chosen, self.charset)

    def _given(self) -> dict[int, Place]:
        return {tag: place for tag, place in self._places.items() if place[2] > place[1]}

    def private(self, group: int, creator: str, element: int) -> int | None:
        """The tag of a vendor's private attribute; None if the vendor has no block in the group."""
        block = self._blocks.get((group, creator))
        return None if block is None else block << 8 | element

    @cached_property
    def _blocks(self) -> dict[tuple[int, str], int]:
        """Blocks of private attributes, as the upper three bytes of their tags, by group and creator."""
        found = {}
        for tag in self._places:
            if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
                creator = self.raw(tag, 64).decode("latin-1").strip(" \0")
                found[tag >> 16, creator] = tag >> 8 | tag & 0xFF
        return found
