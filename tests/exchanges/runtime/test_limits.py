"""Limits, bans, breaker and order in Redis: what one process learns holds for all."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis

from dj_wallet.exchanges.runtime.limits import (
    DEADLINE,
    FAILURES_TO_OPEN,
    CircuitOpen,
    RedisGate,
    WaitTooLong,
    connect,
)
from dj_wallet.exchanges.venues import VENUES, Limit, Venue
from dj_wallet.exchanges.venues.contract import Credentials
from dj_wallet.exchanges.venues.errors import (
    InvalidCredentials,
    LimitsUnavailable,
    RateLimited,
    VenueTimeout,
    VenueUnavailable,
)

SLOW = (Limit("key", 0.01, 5),)  # five at once, then nearly none


def venue_with(*limits: Limit) -> Venue:
    return dataclasses.replace(VENUES["okx"], limits=limits)


def run(url: str, act: Callable[[Any], Coroutine[Any, Any, Any]], seconds: float = 0.5) -> Any:
    """Run on a loop and connection of its own, as another process would; the call ends after so many seconds."""

    async def main() -> Any:
        DEADLINE.set(asyncio.get_running_loop().time() + seconds)
        connection = connect(url)
        try:
            return await act(connection)
        finally:
            await connection.aclose()

    return asyncio.run(main())


def gate(connection: Any, venue: Venue, key: str = "alice", **changes: str) -> RedisGate:
    where = {"realm": "sandbox", "egress": "here", **changes}
    return RedisGate(connection, venue, Credentials(key, "secret"), **where)


async def count_let_through(gate: RedisGate, cost: float, tries: int) -> int:
    through = 0
    for _ in range(tries):
        try:
            await gate.wait(cost)
            through += 1
        except RateLimited:
            pass
    return through


@pytest.mark.parametrize(("cost", "through"), [(1, 5), (2, 2), (5, 1), (28, 1)])
def test_no_more_is_let_through_than_the_burst_pays_for(running_redis, limits, cost, through):
    """A request that costs more than the whole burst takes all of it."""
    venue = venue_with(*SLOW)
    assert run(running_redis, lambda c: count_let_through(gate(c, venue), cost, 8)) == through


def test_processes_share_the_limit_of_a_key(running_redis, limits):
    venue = venue_with(*SLOW)
    counts = [
        run(running_redis, lambda c: count_let_through(gate(c, venue), 1, 3)) for _ in range(3)
    ]
    assert counts == [3, 2, 0]


def test_keys_do_not_share_the_limit_of_a_key(running_redis, limits):
    venue = venue_with(*SLOW)
    for key in ("alice", "bob"):
        assert run(running_redis, lambda c, k=key: count_let_through(gate(c, venue, k), 1, 9)) == 5


def test_keys_share_the_limit_of_an_address(running_redis, limits):
    venue = venue_with(Limit("egress", 0.01, 5))
    counts = [
        run(running_redis, lambda c, k=key: count_let_through(gate(c, venue, k), 1, 3))
        for key in ("alice", "bob", "carol")
    ]
    assert counts == [3, 2, 0]


@pytest.mark.parametrize("other", [{"egress": "there"}, {"realm": "live"}])
def test_another_address_and_the_real_venue_have_limits_of_their_own(running_redis, limits, other):
    venue = venue_with(Limit("egress", 0.01, 5))
    run(running_redis, lambda c: count_let_through(gate(c, venue), 1, 9))
    assert run(running_redis, lambda c: count_let_through(gate(c, venue, **other), 1, 9)) == 5


def test_a_refusal_by_one_bucket_takes_nothing_from_the_other(running_redis, limits):
    venue = venue_with(Limit("key", 0.01, 2), Limit("egress", 0.01, 5))
    counts = [
        run(running_redis, lambda c, k=key: count_let_through(gate(c, venue, k), 1, 9))
        for key in ("alice", "bob", "carol")
    ]
    assert counts == [2, 2, 1]


def test_a_wait_within_the_deadline_is_waited(running_redis, limits):
    venue = venue_with(Limit("key", 20, 1))
    assert run(running_redis, lambda c: count_let_through(gate(c, venue), 1, 4), seconds=10) == 4


def test_a_wait_beyond_the_deadline_is_refused_at_once_with_its_length(running_redis, limits):
    venue = venue_with(Limit("key", 0.1, 1))

    async def act(connection: Any) -> None:
        one = gate(connection, venue)
        await one.wait(1)
        await one.wait(1)

    with pytest.raises(WaitTooLong) as refusal:
        run(running_redis, act)
    assert 9 < refusal.value.retry_after <= 10
    assert refusal.value.code == "RATE_LIMITED"


def test_the_venues_own_ban_holds_for_all_processes(running_redis, limits):
    venue = venue_with(*SLOW)

    async def be_banned(connection: Any) -> None:
        one = gate(connection, venue)
        await one.report(await one.wait(1), RateLimited("x", retry_after=30))

    run(running_redis, be_banned)
    with pytest.raises(RateLimited) as refusal:
        run(running_redis, lambda c: gate(c, venue).wait(1))
    assert 25 < refusal.value.retry_after <= 30
    run(running_redis, lambda c: gate(c, venue, "bob").wait(1))


async def fail(connection: Any, venue: Venue, times: int, kind: type = VenueUnavailable) -> None:
    one = gate(connection, venue)
    for _ in range(times):
        await one.report(await one.wait(0), kind("x"))


def test_a_venue_that_keeps_failing_is_left_alone(running_redis, limits):
    venue = venue_with(*SLOW)
    run(running_redis, lambda c: fail(c, venue, FAILURES_TO_OPEN - 1))
    run(running_redis, lambda c: gate(c, venue).wait(0))
    run(running_redis, lambda c: fail(c, venue, 1))
    with pytest.raises(CircuitOpen) as refusal:
        run(running_redis, lambda c: gate(c, venue, "bob").wait(0))
    assert refusal.value.code == "EXCHANGE_UNAVAILABLE"
    assert 0 < refusal.value.retry_after <= 15


def test_after_a_while_one_request_tries_and_its_success_lets_all_through(running_redis, limits):
    venue = venue_with(*SLOW)
    run(running_redis, lambda c: fail(c, venue, FAILURES_TO_OPEN))
    (opened,) = limits.keys("*:open")
    limits.delete(opened)  # the time has passed

    async def try_again(connection: Any) -> None:
        one = gate(connection, venue)
        ticket = await one.wait(0)
        with pytest.raises(CircuitOpen):
            await gate(connection, venue, "bob").wait(0)
        await one.report(ticket, None)
        await gate(connection, venue, "bob").wait(0)

    run(running_redis, try_again)


def test_a_try_that_fails_closes_the_way_again(running_redis, limits):
    venue = venue_with(*SLOW)
    run(running_redis, lambda c: fail(c, venue, FAILURES_TO_OPEN))
    limits.delete(*limits.keys("*:open"))
    run(running_redis, lambda c: fail(c, venue, 1))
    with pytest.raises(CircuitOpen):
        run(running_redis, lambda c: gate(c, venue).wait(0))


def test_refusals_never_open_the_breaker(running_redis, limits):
    venue = venue_with(*SLOW)
    run(running_redis, lambda c: fail(c, venue, 3 * FAILURES_TO_OPEN, InvalidCredentials))
    run(running_redis, lambda c: gate(c, venue).wait(0))


def test_without_redis_no_venue_is_asked():
    with pytest.raises(LimitsUnavailable) as refusal:
        run("redis://127.0.0.1:1/0", lambda c: gate(c, VENUES["okx"]).wait(1))
    assert refusal.value.retryable


def test_without_redis_no_turn_is_taken():
    async def act(connection: Any) -> None:
        async with gate(connection, VENUES["kraken"]).in_order(Clock()):
            pytest.fail("nobody knows whose turn it is")

    with pytest.raises(LimitsUnavailable):
        run("redis://127.0.0.1:1/0", act)


def test_who_waits_too_long_for_a_turn_is_told(running_redis, limits):
    async def act(connection: Any) -> None:
        first, second = (gate(connection, VENUES["kraken"]) for _ in range(2))
        async with first.in_order(Clock()), second.in_order(Clock()):
            pytest.fail("two hold the turn")

    with pytest.raises(VenueTimeout):
        run(running_redis, act)


class Clock:
    """Stands where a CCXT client keeps its last nonce."""

    def __init__(self) -> None:
        self.options = {"lastNonce": 0}


def test_nonces_rise_from_process_to_process_and_one_holds_the_turn(running_redis, limits):
    venue = VENUES["kraken"]
    inside: list[str] = []

    async def take_turns(connection: Any) -> None:
        clients = [Clock() for _ in range(5)]

        async def act(client: Clock) -> int:
            async with gate(connection, venue).in_order(client):
                inside.append("in")
                client.options["lastNonce"] += 1
                await asyncio.sleep(0.005)
                inside.append("out")
            return client.options["lastNonce"]

        assert sorted(await asyncio.gather(*map(act, clients))) == [1, 2, 3, 4, 5]

    run(running_redis, take_turns, seconds=20)
    assert inside == ["in", "out"] * 5


def test_what_is_kept_in_redis_names_no_key(running_redis, limits: "redis.Redis[bytes]"):
    venue = dataclasses.replace(VENUES["kraken"], limits=SLOW)

    async def act(connection: Any) -> None:
        one = gate(connection, venue, "canary-key")
        async with one.in_order(Clock()):
            await one.report(await one.wait(1), RateLimited("x", retry_after=9))

    run(running_redis, act)
    assert limits.keys("*")
    assert not [name for name in limits.keys("*") if b"canary" in name]


@pytest.mark.parametrize("venue", VENUES.values(), ids=lambda venue: venue.id)
def test_a_venue_is_never_asked_for_more_than_it_allows(venue):
    """Within each venue's window, a full bucket and what flows in stay below its limit."""
    allowed = {
        "binance": (60, 1_200), "coinbase": (3_600, 106_000), "kraken": (60, 45 + 60), "bitfinex": (60, 240), "htx": (2, 20),
        "kucoin": (30, 2_000), "okx": (1, 10), "bybit": (1, 50),
    }  # fmt: skip
    seconds, tokens = allowed[venue.id]
    first = venue.limits[0]
    assert first.burst + first.tokens_per_second * seconds <= tokens
