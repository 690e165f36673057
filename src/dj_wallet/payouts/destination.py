"""Whom to pay: a name and an IBAN, optionally a BIC and a text. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from .errors import DestinationInvalid

LIMITS: Final = {"name": 70, "iban": 34, "bic": 11, "text": 140}
IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
BIC: Final = re.compile(r"[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?")


def read_destination(given: Mapping[str, Any] | None, *, is_needed: bool) -> dict[str, str]:
    """Return the destination in its canonical form; empty if none is given and none is needed.

    :raises DestinationInvalid: a part is missing, unknown, too long or misspelt
    """
    if not given:
        if is_needed:
            raise DestinationInvalid("This bank needs the name and the IBAN of whom to pay.")
        return {}
    if unknown := sorted(set(given) - set(LIMITS)):
        raise DestinationInvalid(f"A destination has no {', '.join(map(str, unknown))}.")
    read = {name: _read_text(name, value) for name, value in given.items()}
    read = {name: value for name, value in read.items() if value}
    for name in ("iban", "bic"):
        if name in read:
            read[name] = read[name].replace(" ", "").upper()
    if not read.get("name") or not is_iban(read.get("iban", "")):
        raise DestinationInvalid("A destination needs a name and a correct IBAN.")
    if "bic" in read and not BIC.fullmatch(read["bic"]):
        raise DestinationInvalid("The BIC is not one.")
    return dict(sorted(read.items()))


def is_iban(text: str) -> bool:
    """Tell whether the check digits are right (ISO 13616: the rearranged number is 1 modulo 97)."""
    if not IBAN.fullmatch(text):
        return False
    digits = "".join(str(int(character, 36)) for character in text[4:] + text[:4])
    return int(digits) % 97 == 1


def _read_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise DestinationInvalid(f"The {name} of a destination is a text.")
    text = " ".join(value.split())
    if len(text) > LIMITS[name] or not text.isprintable():
        raise DestinationInvalid(f"The {name} has at most {LIMITS[name]} printable characters.")
    return text
