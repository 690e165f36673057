"""The banks of the stories about payouts."""

from tests.payouts.conftest import (
    bank,
    blind_bank,
    impatient,
    keyed_bank,
    payouts_setting,
    sandbox,
    session_bank,
    wallet,
)

__all__ = [
    "bank",
    "blind_bank",
    "impatient",
    "keyed_bank",
    "payouts_setting",
    "sandbox",
    "session_bank",
    "wallet",
]
