"""The runtime: whose client is used, what happens in time, after a fork, and when the venue fails."""

import logging
import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import certifi
import pytest

from dj_wallet.exchanges import runtime
from dj_wallet.exchanges.runtime.limits import FAILURES_TO_OPEN, WATCH
from dj_wallet.exchanges.runtime.loop import PROCESS
from dj_wallet.exchanges.venues import errors
from dj_wallet.exchanges.venues.contract import Credentials
from tests.exchanges.stand import VENUES, account_of, credentials_of, given

# Less than the 100 seconds for which a venue that is broken down wants to be left alone: nobody waits for that.
PATIENCE = {"timeout_seconds": 60}
every_venue = pytest.mark.parametrize("venue", VENUES)


def fetch(account, currency="BTC", network="bitcoin", **options):
    return runtime.fetch_deposit_address(
        account, currency=currency, network=network, **{**PATIENCE, **options}
    )


class Vault:
    """Credentials that count how often they were taken out."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials, self.opened = credentials, 0

    def __call__(self) -> Credentials:
        self.opened += 1
        return self.credentials


# Whose client


def test_a_warm_client_needs_no_credentials(sandbox):
    vault = Vault(credentials_of("okx"))
    for _ in range(3):
        fetch(account_of("okx", load_credentials=vault))
    assert vault.opened == 1


def test_nobody_gets_the_client_of_another(sandbox):
    """Not even under the same account id: the owner is part of what a client belongs to."""
    alice = fetch(account_of("okx", "alice", id="1"))
    bob = fetch(account_of("okx", "bob", id="1"))
    assert alice.address == given("okx", "BTC", "bitcoin", "alice")[0].address
    assert bob.address == given("okx", "BTC", "bitcoin", "bob")[0].address


def test_people_asking_at_once_get_their_own(sandbox):
    people = ["alice", "bob", "trader", "careless"] * 5
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda person: fetch(account_of("kucoin", person)).address, people))
    assert found == [given("kucoin", "BTC", "bitcoin", person)[0].address for person in people]


def test_new_credentials_close_the_old_client(sandbox):
    fetch(account_of("okx", id="1"))
    changed = account_of("okx", "bob", id="1", owner="alice", credentials_version=2)
    assert fetch(changed).address == given("okx", "BTC", "bitcoin", "bob")[0].address
    assert len(PROCESS.get().clients) == 1


def test_a_forgotten_account_loads_its_credentials_again(sandbox):
    vault = Vault(credentials_of("okx"))
    account = account_of("okx", load_credentials=vault)
    fetch(account)
    runtime.forget(account.id)
    assert len(PROCESS.get().clients) == 0
    fetch(account)
    assert vault.opened == 2


def test_no_more_clients_are_kept_than_allowed(sandbox, settings):
    settings.EXCHANGES_MAX_CLIENTS = 2
    for person in ("alice", "bob", "trader", "careless"):
        fetch(account_of("kucoin", person))
    assert len(PROCESS.get().clients) == 2
    assert fetch(account_of("kucoin", "alice")).venue == "kucoin"


def test_a_sandbox_account_without_a_sandbox_is_refused_and_never_live(sandbox, settings):
    settings.EXCHANGES_SANDBOX_ADDRESS = ""
    with pytest.raises(errors.SandboxNotAvailable):
        fetch(account_of("okx"))


def test_a_certificate_of_another_authority_is_refused(sandbox, settings):
    settings.EXCHANGES_SANDBOX_CA_FILE = certifi.where()
    with pytest.raises(errors.TLSInvalid) as refusal:
        fetch(account_of("okx"))
    assert not refusal.value.retryable
    assert sandbox.calls() == []


# Failures


BELOW_HTTP = [
    ("down", "NETWORK_ERROR"),
    ("unavailable", "EXCHANGE_UNAVAILABLE"),
    ("huge", "EXCHANGE_UNAVAILABLE"),
    ("garbage", "EXCHANGE_BAD_RESPONSE"),
    ("empty", "EXCHANGE_BAD_RESPONSE"),
    ("truncated", "EXCHANGE_BAD_RESPONSE"),
    ("blocked", "EXCHANGE_BLOCKED"),
    ("restricted", "RESTRICTED_LOCATION"),
    ("banned", "RATE_LIMITED"),
    ("redirect", "EXCHANGE_API_ERROR"),
]


@pytest.mark.parametrize(("fault", "code"), BELOW_HTTP)
@pytest.mark.parametrize("venue", ["binance", "okx", "bitfinex"])
def test_a_failure_below_the_venues_words_has_its_code(sandbox, venue, fault, code):
    sandbox.break_down(fault, venue, seconds=100)
    with pytest.raises(errors.VenueError) as refusal:
        fetch(account_of(venue))
    assert refusal.value.code == code
    assert len(refusal.value.venue_message) <= 500


@every_venue
@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        ("maintenance", {"EXCHANGE_MAINTENANCE", "EXCHANGE_UNAVAILABLE"}),
        ("rate_limited", {"RATE_LIMITED"}),
        ("permission", {"PERMISSION_DENIED", "INVALID_CREDENTIALS"}),
        ("suspended", {"ACCOUNT_SUSPENDED", "PERMISSION_DENIED", "EXCHANGE_API_ERROR"}),
        ("misshapen", {"EXCHANGE_BAD_RESPONSE", "EXCHANGE_API_ERROR"}),
        ("unknown_key", {"INVALID_CREDENTIALS"}),
    ],
)
def test_a_refusal_in_the_venues_words_is_understood(sandbox, venue, fault, codes):
    sandbox.break_down(fault, venue, seconds=100)
    with pytest.raises(errors.VenueError) as refusal:
        fetch(account_of(venue))
    assert refusal.value.code in codes


@every_venue
def test_a_hiccup_is_asked_again(sandbox, venue):
    sandbox.break_down("unavailable", venue, times=1)
    assert fetch(account_of(venue)).address == given(venue, "BTC", "bitcoin")[0].address


def test_a_short_wait_that_the_venue_wants_is_waited(sandbox):
    sandbox.break_down("rate_limited", "okx", times=1, seconds=0.2)
    assert fetch(account_of("okx")).venue == "okx"


def test_a_long_one_is_told_and_the_venue_left_alone(sandbox):
    sandbox.break_down("rate_limited", "okx", seconds=100)
    for _ in range(3):
        with pytest.raises(errors.RateLimited) as refusal:
            fetch(account_of("okx"))
        assert 90 < refusal.value.retry_after <= 100
    assert len(sandbox.calls("okx")) == 1


def test_a_refusal_is_not_asked_again(sandbox):
    sandbox.break_down("unknown_key", "okx")
    with pytest.raises(errors.InvalidCredentials):
        fetch(account_of("okx"))
    assert len(sandbox.calls("okx")) == 1


def test_silence_ends_with_the_call(sandbox):
    sandbox.break_down("hang", "okx")
    with pytest.raises(errors.VenueTimeout):
        fetch(account_of("okx"), timeout_seconds=0.5)


def test_a_silent_venue_is_left_alone_after_some_calls(sandbox):
    fetch(account_of("okx"))
    sandbox.break_down("hang", "okx")
    codes = []
    while "EXCHANGE_UNAVAILABLE" not in codes:
        assert len(codes) < 50
        with pytest.raises(errors.VenueError) as refusal:
            fetch(account_of("okx"), timeout_seconds=0.5)
        codes.append(refusal.value.code)
    assert codes[:-1] == ["EXCHANGE_TIMEOUT"] * (len(codes) - 1)
    assert len(codes) > FAILURES_TO_OPEN
    calls = len(sandbox.calls("okx"))
    with pytest.raises(errors.VenueUnavailable):
        fetch(account_of("okx"))
    assert len(sandbox.calls("okx")) == calls


@pytest.mark.parametrize("venue", ["coinbase", "kraken", "bitfinex", "kucoin"])
@pytest.mark.parametrize("fault", ["unavailable", "down", "garbage", "hang"])
def test_whether_an_address_was_made_is_unknown_and_not_asked_twice(sandbox, venue, fault):
    account = account_of(venue)
    fetch(account)
    before = len(sandbox.calls(venue))
    sandbox.break_down(fault, venue, method="POST")
    with pytest.raises(errors.OutcomeUnknown) as refusal:
        runtime.create_deposit_address(
            account,
            currency="BTC",
            network="bitcoin",
            timeout_seconds=4 if fault == "hang" else 120,
        )
    assert not refusal.value.retryable
    expected = 2 if venue == "coinbase" else 1
    assert len(sandbox.calls(venue)) - before <= expected


@pytest.mark.parametrize("venue", ["binance", "okx", "bybit", "kucoin"])
@pytest.mark.parametrize("offset", [60_000, -60_000])
def test_a_clock_that_goes_wrong_is_set_by_the_venues(sandbox, venue, offset):
    sandbox.set("clock", offset_ms=offset)
    assert fetch(account_of(venue)).venue == venue
    times = [path for path in sandbox.calls(venue) if "time" in path]
    fetch(account_of(venue, "bob"))
    assert [path for path in sandbox.calls(venue) if "time" in path] == times


# Many


def test_each_currency_has_its_own_outcome(sandbox):
    outcomes = {
        outcome.currency: outcome
        for outcome in runtime.fetch_many(
            account_of("kucoin"), ["BTC", "NOCOIN", "XRP", "BTC"], budget_seconds=120
        )
    }
    assert set(outcomes) == {"BTC", "NOCOIN", "XRP"}
    assert outcomes["NOCOIN"].error.code == "UNSUPPORTED_CURRENCY"
    assert outcomes["BTC"].error is None
    assert len(outcomes["XRP"].addresses.found) == 1


def test_what_the_budget_leaves_out_is_not_an_outcome(sandbox):
    """Bitfinex allows five calls at once and then one in twelve seconds."""
    coins = ["BTC", "XRP", "XLM", "SOL", "ADA", "DOT", "LTC", "BCH", "DOGE", "ATOM", "NEAR", "ALGO"]
    outcomes = list(runtime.fetch_many(account_of("bitfinex"), coins, budget_seconds=11))
    assert 0 < len(outcomes) < len(coins)
    assert [outcome.currency for outcome in outcomes] == coins[: len(outcomes)]
    assert all(outcome.error is None for outcome in outcomes)


def test_a_refusal_that_all_will_meet_is_met_once(sandbox):
    sandbox.break_down("unknown_key", "kraken")
    outcomes = list(
        runtime.fetch_many(account_of("kraken"), ["BTC", "XRP", "XLM"], budget_seconds=9)
    )
    assert [outcome.error.code for outcome in outcomes] == ["INVALID_CREDENTIALS"] * 3
    assert len(sandbox.calls("kraken")) == 1


def test_a_failure_in_the_middle_gives_the_others_their_addresses(sandbox):
    fetch(account_of("htx"))
    sandbox.break_down("garbage", "htx", times=3)
    outcomes = list(
        runtime.fetch_many(account_of("htx"), ["BTC", "XRP", "XLM", "ADA"], budget_seconds=120)
    )
    assert all(outcome.addresses is not None or outcome.error.retryable for outcome in outcomes)
    assert sum(outcome.error is None for outcome in outcomes) >= 1


def test_a_client_that_cannot_be_made_is_an_error_and_not_an_empty_answer(sandbox, settings):
    settings.EXCHANGES_SANDBOX_ADDRESS = ""
    with pytest.raises(errors.SandboxNotAvailable):
        list(runtime.fetch_many(account_of("okx"), ["BTC"], budget_seconds=5))


def test_a_mistake_of_ours_is_not_taken_for_the_end_of_the_budget(sandbox):
    with pytest.raises((AttributeError, TypeError)):
        list(runtime.fetch_many(account_of("kucoin"), ["BTC", None], budget_seconds=60))


def test_a_list_of_networks_is_asked_for_once_by_all(sandbox):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda person: fetch(account_of("binance", person)), ["alice", "bob"] * 4))
    assert sandbox.calls("binance").count("/sapi/v1/capital/config/getall") == 1


def test_a_list_of_networks_outlives_the_venues_failure(sandbox):
    fetch(account_of("okx"))
    sandbox.break_down("unavailable", "okx", path="currencies")
    assert fetch(account_of("okx", "bob")).venue == "okx"


# Processes


def test_forked_children_have_loops_of_their_own_and_share_the_order_of_nonces(sandbox):
    """Four processes with one key of Kraken: no nonce comes out of order."""
    coins = ["BTC", "XRP", "XLM"]
    account = account_of("kraken")
    fetch(account)
    children = []
    for coin in coins:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                answer = fetch(account, coin, None).address
            except BaseException as error:  # noqa: BLE001 - the child must not run the rest of the tests
                answer = repr(error)
            os.write(writer, answer.encode())
            os._exit(0)
        os.close(writer)
        children.append((child, reader))
    answers = []
    for child, reader in children:
        with os.fdopen(reader) as said:
            answers.append(said.read())
        os.waitpid(child, 0)
    assert answers == [given("kraken", coin, network)[0].address for coin, network in zip(coins, ["bitcoin", "xrp", "stellar"], strict=True)]  # fmt: skip
    assert fetch(account).address == answers[0]


def test_closing_leaves_no_thread_and_the_next_call_starts_again(sandbox):
    fetch(account_of("okx"))
    thread = PROCESS.get()._thread
    runtime.close()
    assert not thread.is_alive()
    assert fetch(account_of("okx")).venue == "okx"


def test_ccxt_is_not_imported_before_the_first_call():
    code = "import sys, dj_wallet.exchanges.runtime as r; sys.exit(any(m.split('.')[0] == 'ccxt' for m in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


# Secrets


@every_venue
def test_no_secret_leaves_by_logs_errors_or_names(sandbox, limits, venue, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("ccxt", "ccxt.base.exchange", "aiohttp", "asyncio", "dj_wallet"):
        caplog.set_level(logging.DEBUG, logger=name)
    credentials = credentials_of(venue)
    account = account_of(venue)
    shown = [repr(account), str(account), repr(fetch(account))]
    client = PROCESS.get().clients._entries[account.key].client
    shown += [repr(client), str(client), f"{client}"]
    other = credentials_of(venue, "bob")
    wrong = Credentials(credentials.api_key, other.api_secret, credentials.passphrase)
    wrong_account = account_of(venue, id="wrong", load_credentials=lambda: wrong)
    asked = [
        (account, "unavailable"),
        (account, "down"),
        (account, "misshapen"),
        (wrong_account, None),
    ]
    for who, fault in asked:
        if fault:
            sandbox.break_down(fault, venue)
        with pytest.raises(errors.VenueError) as refusal:
            fetch(who, "XRP", "xrp")
        error = refusal.value
        assert error.__context__ is None
        assert error.__cause__ is None
        shown += [
            str(error),
            repr(error),
            repr(error.details),
            "".join(traceback.format_exception(error)),
        ]
        sandbox.repair()
        limits.flushdb()
    text = "\n".join([*shown, caplog.text])
    secrets = [credentials.api_secret, other.api_secret, credentials.passphrase]
    lines = [
        line
        for secret in secrets
        for line in secret.splitlines()
        if len(line) > 30 or secret == credentials.passphrase
    ]
    for secret in [*lines, credentials.api_key]:
        assert not secret or "PRIVATE KEY" in secret or secret not in text


def test_every_request_is_told_to_who_watches(sandbox):
    told: list[tuple[str, str]] = []

    def hear(venue: str, code: str, seconds: float) -> None:
        told.append((venue, code))

    runtime.watch(hear)
    try:
        fetch(account_of("okx"))
        sandbox.break_down("blocked", "okx")
        with pytest.raises(errors.VenueBlocked):
            fetch(account_of("okx"))
    finally:
        WATCH.watchers.remove(hear)
    assert told == [("okx", "OK"), ("okx", "OK"), ("okx", "EXCHANGE_BLOCKED")]
