"""How long to wait before the next try: full jitter, so that a crowd that failed together does not come back together."""

import random
from collections.abc import Callable
from typing import Final

MAX_DOUBLINGS: Final = 30


def draw_wait(
    tries: int,
    base_seconds: float,
    maximum_seconds: float,
    draw: Callable[[float, float], float] = random.uniform,
) -> float:
    """Return the seconds to wait after so many tries: anything between zero and the doubled base, or the maximum."""
    doublings = min(max(tries - 1, 0), MAX_DOUBLINGS)
    return draw(0, min(maximum_seconds, base_seconds * 2**doublings))
