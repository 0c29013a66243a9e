"""How a phone on the local network reaches the studio."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """An address with a token, for a QR code."""

    address: str
    token: str
