"""Public identifiers that sort by time."""

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """Return a version 7 UUID (RFC 9562, section 5.7): 48 bits of milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    high = milliseconds << 80 | 0x7 << 76 | (noise >> 68) << 64
    return UUID(int=high | 0b10 << 62 | (noise & (1 << 62) - 1))
