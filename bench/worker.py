"""A worker process: `python -m bench.worker <module> setup ...` or `<module> <scenario> <seconds>`.

The module offers `setup(...)` and `SCENARIOS: dict[str, Scenario]`. One process per run keeps the CPU
of Python cleanly apart; the sample goes to standard output as JSON.
"""

import importlib
import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import django

from bench.measure import Meter, Step, run_steps

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scenario:
    """How to make a step, and in how many threads it runs."""

    make_step: Callable[[], Step]
    threads: int = 1


def pick_two(items: Sequence[T]) -> tuple[T, T]:
    """Return two different items at random; ten times cheaper than random.sample."""
    first = int(random.random() * len(items))
    second = int(random.random() * (len(items) - 1))
    return items[first], items[second + (second >= first)]


def measure(scenario: Scenario, seconds: float) -> None:
    steps = [scenario.make_step() for _ in range(scenario.threads)]
    meter = Meter(os.environ["BENCH_DATABASE_URL"], int(os.environ["BENCH_POSTMASTER_PID"]))
    print(json.dumps(asdict(run_steps(meter, steps, seconds))))


def main(module_name: str, action: str, *arguments: str) -> None:
    django.setup()
    module = importlib.import_module(module_name)
    if action == "setup":
        module.setup(*arguments)
    else:
        measure(module.SCENARIOS[action], seconds=float(*arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
