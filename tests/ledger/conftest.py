"""The ledger by itself: its tests lock money by entries alone, for which the app above it would want holds."""

import pytest

from dj_wallet.hold_audit import check_locked_money
from dj_wallet.ledger.audit import CHECKS


@pytest.fixture(autouse=True)
def without_holds():
    CHECKS.remove(check_locked_money)
    yield
    CHECKS.append(check_locked_money)
