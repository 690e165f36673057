"""The faults of the simulated bank, and which of them the next order meets."""

import random
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

MODES = {
    "ok": "pays and says so",
    "refuse": "answers failed (503) and pays nothing",
    "failing_200": "answers HTTP 200 with a failing body and pays nothing",
    "reject": "refuses for good",
    "paid_503": "pays, and answers failed (503) all the same",
    "paid_timeout": "pays, then answers too late",
    "paid_cut": "pays, then cuts the connection",
    "garbage": "pays, then answers what nobody can read",
    "slow": "waits, then pays and says so",
    "accept": "takes the order over and pays later (keyed contract)",
    "unavailable": "answers 503 with a page, and pays nothing",
    "cut": "cuts the connection and pays nothing",
    "down": "hangs up on everybody",
}
DEFAULT_SECONDS = 8.0


class FaultsInvalid(ValueError):
    """These faults cannot be set."""


class Faults:
    """Faults by hand (`mode`), in order (`script`), at random (`mix` with a `seed`), or for one order (`reference`)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Pay everything."""
        with self._lock:
            self._reset()

    def _reset(self) -> None:
        self.mode, self.seconds, self.times = "ok", DEFAULT_SECONDS, 0
        self.lookups = "ok"
        self._script: deque[str] = deque()
        self._mix: dict[str, float] = {}
        self._random = random.Random(1)  # noqa: S311 - faults, no secrets
        self._of_reference: dict[str, str] = {}

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Take new faults over; the old ones are gone, but those of single references.

        :raises FaultsInvalid: they make no sense
        """
        modes = [wanted.get("mode", "ok"), *wanted.get("script", []), *wanted.get("mix", {})]
        if any(mode not in MODES for mode in modes):
            raise FaultsInvalid(f"mode must be one of {', '.join(MODES)}")
        if wanted.get("lookups", "ok") not in {"ok", "down"}:
            raise FaultsInvalid("lookups must be ok or down")
        with self._lock:
            if reference := wanted.get("reference"):
                self._of_reference[str(reference)] = modes[0]
                return
            kept = self._of_reference
            self._reset()
            self._of_reference = kept
            self.mode = modes[0]
            self.times = int(wanted.get("times", 0))
            self.seconds = float(wanted.get("seconds", DEFAULT_SECONDS))
            self.lookups = wanted.get("lookups", "ok")
            self._script.extend(wanted.get("script", []))
            self._mix = {mode: float(share) for mode, share in wanted.get("mix", {}).items()}
            self._random = random.Random(wanted.get("seed", 1))  # noqa: S311

    def choose(self, reference: str) -> str:
        """Return the fault that this order meets."""
        with self._lock:
            if reference in self._of_reference:
                return self._of_reference[reference]
            if self._script:
                return self._script.popleft()
            if self._mix:
                return self._draw()
            mode = self.mode
            if self.times:
                self.times -= 1
                self.mode = mode if self.times else "ok"
            return mode

    def show(self) -> dict[str, Any]:
        """Return what is set."""
        with self._lock:
            shown: dict[str, Any] = {"mode": self.mode}
            extras = {
                "times": self.times,
                "script": list(self._script),
                "mix": self._mix,
                "references": dict(self._of_reference),
            }
            if self.lookups != "ok":
                extras["lookups"] = self.lookups
            return shown | {name: value for name, value in extras.items() if value}

    def _draw(self) -> str:
        at = self._random.random()
        for mode, share in self._mix.items():
            at -= share
            if at < 0:
                return mode
        return "ok"
