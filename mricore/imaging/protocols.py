"""What kind of exam a text speaks of, in the words of a policy (paper section 4.1: the report type)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from mricore.config.curation import Curation, Protocol
from mricore.imaging.anatomy import plain_words

_CACHED_TEXTS = 65536
_SIDE = "LEFT|RIGHT|LT|RT|[LR](?! (S )?SP)|BILATERAL|BILAT|BIL|BI|BOTH|LINKS|RECHTS|GAUCHE|DROITE?"
_CONTRAST = (
    "WITH|WITHOUT|WWO|WOW|WO|W|O|AND|OR|THEN|CONTRAST|CONT|CON|IV|INJ|DYE|CM|KM|GAD|GADO|GADOLINIUM"
    "|MIT|OHNE|AVEC|SANS"
)
_MACHINE = r"MRI?|MRT|IRM|ROUTINE|\d+T?"
_NO_PROTOCOL = re.compile(rf"\b({_SIDE}|{_CONTRAST}|{_MACHINE})\b")


def protocol_of(text: str, policy: Curation) -> str | None:
    """The protocol of a report type or study description.

    If the policy names protocols: the first one that matches, None if none does. Otherwise the text
    itself without side and contrast, None if nothing remains.
    """
    if policy.protocols:
        return _named_protocol(text, policy.protocols)
    return _report_type(text)


def protocol_of_exam(texts: Iterable[str], policy: Curation) -> str | None:
    """The one protocol of an exam with several report types, whatever their order.

    It is the first in the policy that one of the texts matches; without named protocols the first in the
    alphabet.
    """
    found = {name for name in (protocol_of(text, policy) for text in texts) if name}
    named = (protocol.name for protocol in policy.protocols if protocol.name in found)
    return next(named, None) or min(found, default=None)


def has_excluded_words(texts: Iterable[str], policy: Curation) -> bool:
    """Whether one of the texts contains a word or phrase that the policy leaves out."""
    return any(_is_excluded(text, policy.exclude_words) for text in texts)


@lru_cache(maxsize=_CACHED_TEXTS)
def _report_type(text: str) -> str | None:
    return " ".join(_NO_PROTOCOL.sub(" ", plain_words(text)).split()) or None


@lru_cache(maxsize=_CACHED_TEXTS)
def _named_protocol(text: str, protocols: tuple[Protocol, ...]) -> str | None:
    sentence = _sentence(text)
    matching = (
        protocol.name
        for protocol in protocols
        if _mentions(sentence, protocol.any_of) and not _mentions(sentence, protocol.none_of)
    )
    return next(matching, None)


@lru_cache(maxsize=_CACHED_TEXTS)
def _is_excluded(text: str, words: tuple[str, ...]) -> bool:
    return _mentions(_sentence(text), words)


def _mentions(sentence: str, phrases: tuple[str, ...]) -> bool:
    """Whether one of the phrases stands in the sentence as whole words."""
    return any(_sentence(phrase) in sentence for phrase in phrases)


@lru_cache(maxsize=_CACHED_TEXTS)
def _sentence(text: str) -> str:
    """The words of a text, with one space before, between and after them."""
    return f" {plain_words(text)} "
