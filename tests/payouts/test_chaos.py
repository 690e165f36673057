"""A short round of the chaos harness (bench/payout_chaos): everything is killed, nothing is paid twice or lost."""

import pytest
from bench.payout_chaos.__main__ import ZEROS, run_round


@pytest.mark.postgres
def test_nothing_is_paid_twice_or_lost_while_everything_is_killed():
    """Against the bank without keys: workers, a pool child, beat, Redis, PostgreSQL, FLUSHALL, messages five times."""
    result = run_round("ours", "plain", payouts=40, harm_seconds=8, healing_seconds=900, seed=3)
    assert {zero: result[zero] for zero in ZEROS} == dict.fromkeys(ZEROS, 0), result
    assert (result["books"], result["open"]) == ("balance", [])
    assert result["orders sent"] > 40
