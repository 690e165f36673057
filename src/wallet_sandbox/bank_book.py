"""What the simulated bank has paid: an append-only list, kept in a file if one is given."""

import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Names of the bank's own in a payment; what is left is the order as it was sent.
OWN = frozenset({"id", "state", "code", "paid_at", "returned_at", "reason"})


class Book:
    """The payments the bank has made, in order. With a file, an accepted payment survives the bank's death."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._payments: list[dict[str, Any]] = []
        self._by_reference: dict[str, list[dict[str, Any]]] = {}
        for line in _read(file) if file is not None else []:
            self._apply(line)

    def add(self, payment: Mapping[str, Any]) -> dict[str, Any]:
        """Record a payment; on disk when this returns."""
        with self._lock:
            return self._write({**payment})

    def add_once(self, payment: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Record a payment unless one with its reference is recorded; return the first and whether it is new."""
        with self._lock:
            found = self.find(payment["reference"])
            return (found[0], False) if found else (self._write({**payment}), True)

    def update(self, reference: str, **changes: Any) -> dict[str, Any] | None:
        """Change the first payment of this reference; return it, or None if there is none."""
        with self._lock:
            if not self.find(reference):
                return None
            return self._write({"update": reference, **changes})

    def find(self, reference: str) -> list[dict[str, Any]]:
        """Return the payments of a reference, with what is the bank's own."""
        with self._lock:
            return [dict(payment) for payment in self._by_reference.get(reference, [])]

    def payments(self) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(payment) for payment in self._payments]

    def clear(self) -> None:
        """Forget everything; the file stays."""
        with self._lock:
            self._payments.clear()
            self._by_reference.clear()

    def _write(self, line: dict[str, Any]) -> dict[str, Any]:
        if self._file is not None:
            _append(self._file, line)
        return self._apply(line)

    def _apply(self, line: dict[str, Any]) -> dict[str, Any]:
        if "update" in line:
            payment = self._by_reference[line["update"]][0]
            payment.update({name: value for name, value in line.items() if name != "update"})
        else:
            payment = dict(line)
            self._payments.append(payment)
            self._by_reference.setdefault(payment["reference"], []).append(payment)
        return dict(payment)


def list_orders(payments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the orders as they were sent."""
    return [{name: one[name] for name in one if name not in OWN} for one in payments]


def read_clock() -> str:
    """Return the time as the bank writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _append(file: Path, line: Mapping[str, Any]) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
        lines.flush()
        os.fsync(lines.fileno())


def _read(file: Path) -> list[dict[str, Any]]:
    """Read the recorded lines and cut off one that a killed bank did not finish: it answered nobody."""
    if not file.exists():
        return []
    text = file.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(file, len(whole.encode()))
    return [json.loads(line) for line in whole.splitlines()]
