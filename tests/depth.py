"""How much is tried by tests that draw their cases: `make test` what ten minutes allow, `make explore` ten times that."""

import os

DEPTH = int(os.environ.get("TESTS_DEPTH", "1"))


def examples(count: int) -> int:
    """Return how many cases to draw where `make test` draws so many."""
    return count * DEPTH
