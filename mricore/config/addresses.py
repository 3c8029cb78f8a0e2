"""Addresses of servers as they may be shown: without the user and the password that they can carry."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/?#\s]*@")


def without_credentials(address: str) -> str:
    """``http://user:password@host/path`` as ``http://***@host/path``; other addresses unchanged."""
    return _USER.sub("***@", address)
