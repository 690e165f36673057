"""`python -m bench.payout_chaos`: our payouts and the naive shape under the same fire, as a table.

Each round: a bank that fails 4 of 10 orders in seven ways, two workers (one with its clock an hour off), three beats,
every message delivered five times, and every second something is killed with SIGKILL or Redis is emptied. Then
everything may heal, and the bank's books are compared with ours.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.payout_chaos import naive, ours
from bench.payout_chaos.scene import FAULTS, Scene, find_faketime, list_harms, open_scene, wait_for

SHAPES: dict[str, ModuleType] = {"ours": ours, "naive": naive}
ZEROS = ("paid twice", "refunded though paid", "settled though not paid", "stuck")
HEALING_SECONDS = 150


def run_round(
    shape: str,
    bank: str,
    *,
    payouts: int,
    harm_seconds: float,
    healing_seconds: float = HEALING_SECONDS,
    pause: float = 1.0,
    seed: int = 1,
) -> dict[str, Any]:
    """Run one round; return what became of the payouts and what was done to them."""
    folder = Path(tempfile.mkdtemp(prefix="payout-chaos-"))
    try:
        with open_scene(folder) as scene:
            return _run(
                scene, SHAPES[shape], bank, payouts, harm_seconds, healing_seconds, pause, seed
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    scene: Scene,
    shape: ModuleType,
    bank: str,
    payouts: int,
    harm_seconds: float,
    healing_seconds: float,
    pause: float,
    seed: int,
) -> dict[str, Any]:
    scene.ask_bank("POST", "/faults", json=FAULTS)
    shape.set_up(scene, bank, payouts)
    dice = random.Random(seed)
    begun = time.monotonic()
    # Beside the harm: on a busy machine it takes as long.
    messages = threading.Thread(target=shape.repeat_messages, args=[scene])
    messages.start()
    harms: list[Callable[[], None]] = []
    while time.monotonic() - begun < harm_seconds:
        time.sleep(pause * dice.uniform(0.5, 1.5))
        harms = harms or list_harms(scene, dice)
        harms.pop()()
        scene.revive()
    messages.join()
    healed_from = time.monotonic()

    def is_done() -> bool:
        scene.revive()
        return shape.count_open(scene) == 0

    wait_for(is_done, healing_seconds)
    healing = time.monotonic() - healed_from
    verdict = shape.judge(scene)
    harms = ", ".join(f"{what} {count}" for what, count in sorted(scene.harms.items()))
    return {
        **verdict,
        "payouts": payouts,
        "orders sent": len(scene.ask_bank("GET", "/requests")["requests"]),
        "harm s": round(healed_from - begun),
        "healing s": round(healing, 1),
        "harms": harms,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.payout_chaos")
    parser.add_argument("--payouts", type=int, default=250)
    parser.add_argument("--harm-seconds", type=float, default=60)
    parser.add_argument("--healing-seconds", type=float, default=HEALING_SECONDS)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument(
        "--banks", nargs="+", choices=["keyed", "plain"], default=["keyed", "plain"]
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if find_faketime() is None:
        print("libfaketime is not installed: both workers have the right time", file=sys.stderr)
    results = {}
    for shape in options.shapes:
        for bank in options.banks:
            results[shape, bank] = run_round(
                shape,
                bank,
                payouts=options.payouts,
                harm_seconds=options.harm_seconds,
                healing_seconds=options.healing_seconds,
                seed=options.seed,
            )
            print(f"{shape} {bank}: {json.dumps(results[shape, bank])}", flush=True)
    print_table(results)
    return int(any(results[one][zero] for one in results if one[0] == "ours" for zero in ZEROS))


def print_table(results: dict[tuple[str, str], dict[str, Any]]) -> None:
    names = ["payouts", *ZEROS, "settled", "books", "healing s"]
    print(f"\n| shape | bank | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}")
    for (shape, bank), result in results.items():
        cells = " | ".join(str(result[name]) for name in names)
        print(f"| {shape} | {bank} | {cells} |")


if __name__ == "__main__":
    sys.exit(main())
