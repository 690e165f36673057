"""What is kept of wallets in Redis: warm reads ask the database nothing, and nobody reads what is no longer true."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import connection, transaction
from django.db.utils import IntegrityError
from django.test.utils import CaptureQueriesContext

from dj_wallet.identity.models import User
from dj_wallet.leases import CHANGE_SECONDS, LeaseCache, get_cache
from dj_wallet.ledger.engine import Entry, Kind, Movement
from dj_wallet.ledger.post import group_commit, post
from dj_wallet.models import Wallet
from dj_wallet.rest import wallet_cache
from dj_wallet.services.escrow import open_escrow, refund_escrow, release_escrow
from dj_wallet.services.holds import place_hold, release_hold, settle_hold
from tests.rest.api import Api
from wallet_service.embedded import RedisServer, free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def coin_wallet(alice: User) -> Wallet:
    """Alice's, with 10 DOGE."""
    wallet = alice.create_wallet(slug="doge", currency="DOGE")
    wallet.deposit(10)
    return wallet


def list_paths(wallet: Wallet) -> list[str]:
    paths = ["/wallets/", "/api/wallets/", "/api/wallets/?coin=DOGE", f"/wallets/{wallet.uuid}"]
    return [*paths, f"/api/wallets/{wallet.pk}"] if wallet.slug == "doge" else paths


def read(api: Api, wallet: Wallet) -> list[Any]:
    """Return all that the API says of the wallet."""
    return [(answer.status, answer.body) for answer in map(api.get, list_paths(wallet))]


def warm(api: Api, wallet: Wallet) -> list[Any]:
    for _ in range(3):
        answers = read(api, wallet)
    return answers


@pytest.fixture
def uncached(settings: Any) -> Callable[[Api, Wallet], list[Any]]:
    """A reader of the database."""

    def ask(api: Api, wallet: Wallet) -> list[Any]:
        settings.WALLET_CACHE_SECONDS = 0
        answers = read(api, wallet)
        settings.WALLET_CACHE_SECONDS = 60
        return answers

    return ask


def test_what_is_kept_is_what_the_database_says(cached, api, coin_wallet, wallet, uncached):
    assert warm(api, coin_wallet) == uncached(api, coin_wallet)
    assert warm(api, wallet) == uncached(api, wallet)


def test_warm_reads_ask_no_wallet_of_the_database(cached, api, coin_wallet):
    warm(api, coin_wallet)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        read(api, coin_wallet)
    assert [
        one["sql"] for one in queries.captured_queries if "dj_wallet_wallet" in one["sql"]
    ] == []


def test_nobody_is_shown_anothers_wallet(cached, api, bobs_api, staffs_api, coin_wallet):
    warm(api, coin_wallet)
    for path in (f"/wallets/{coin_wallet.uuid}", f"/api/wallets/{coin_wallet.pk}"):
        assert bobs_api.get(path).status == 404
        assert staffs_api.get(path).status == 200
    assert bobs_api.get("/wallets/").body["results"] == []
    assert bobs_api.get("/api/wallets/").body["results"] == []


def test_a_tag_is_kept_too(cached, api, coin_wallet):
    path = f"/api/wallets/{coin_wallet.pk}"
    warm(api, coin_wallet)
    tag = api.get(path).headers["ETag"]
    assert (
        api.client.get(
            path, headers={"Authorization": f"Bearer {api.key}", "If-None-Match": tag}
        ).status_code
        == 304
    )
    coin_wallet.deposit(1)
    assert api.get(path).headers["ETag"] != tag


def test_pages_go_on_where_the_kept_one_ends(cached, api, alice):
    for number in range(5):
        alice.create_wallet(slug=f"w{number}")
    for _ in range(3):
        first = api.get("/wallets/?limit=2").body
    second = api.get(first["next"].removeprefix("http://testserver")).body
    slugs = [one["slug"] for one in first["results"] + second["results"]]
    assert slugs == ["w4", "w3", "w2", "w1"]


def test_a_user_with_many_wallets_is_answered_from_the_database(cached, api, alice, monkeypatch):
    monkeypatch.setattr(wallet_cache, "MAX_LISTED", 2)
    for number in range(3):
        alice.create_wallet(slug=f"w{number}")
    for _ in range(3):
        assert len(api.get("/wallets/").body["results"]) == 3


# Everything that changes a wallet


def deposit_in_batch(wallet: Wallet, other: Wallet) -> None:
    movement = Movement("external:bank", wallet.pk, Decimal(1), wallet.asset_id)
    post([Entry(Kind.DEPOSIT, (movement,)), Entry(Kind.DEPOSIT, (movement,))])


def deposit_slowly(wallet: Wallet, other: Wallet) -> None:
    """By the slow path, which a repeated key asks for."""
    movement = Movement("external:bank", wallet.pk, Decimal(1), wallet.asset_id)
    post([Entry(Kind.DEPOSIT, (movement,), "a"), Entry(Kind.DEPOSIT, (movement,), "a")])


def deposit_in_group(wallet: Wallet, other: Wallet) -> None:
    group_commit(
        Entry(Kind.DEPOSIT, (Movement("external:bank", wallet.pk, Decimal(1), wallet.asset_id),))
    )


def deposit_in_savepoint(wallet: Wallet, other: Wallet) -> None:
    """What the savepoint told is undone with it; the movement after it has to tell again."""
    with transaction.atomic():
        try:
            with transaction.atomic():
                wallet.deposit(1)
                raise IntegrityError
        except IntegrityError:
            pass
        wallet.deposit(1)


def release(wallet: Wallet, other: Wallet) -> None:
    release_hold(
        place_hold(wallet=wallet, amount=3, reference_type="bid", reference_id="1"), amount=1
    )


def settle(wallet: Wallet, other: Wallet) -> None:
    hold = place_hold(wallet=wallet, amount=3, reference_type="bid", reference_id="1")
    settle_hold(hold, to=other)


def repair(wallet: Wallet, other: Wallet) -> None:
    Wallet.objects.filter(pk=wallet.pk).update(balance=99)
    wallet.sync_balance()


CHANGES: dict[str, Callable[[Wallet, Wallet], object]] = {
    "deposit": lambda wallet, other: wallet.deposit(1),
    "withdraw": lambda wallet, other: wallet.withdraw(1),
    "force_withdraw": lambda wallet, other: wallet.force_withdraw(50),
    "transfer": lambda wallet, other: wallet.transfer(other, 1),
    "transfer to": lambda wallet, other: other.transfer(wallet, 1),
    "batch": deposit_in_batch,
    "slow path": deposit_slowly,
    "group commit": deposit_in_group,
    "savepoint": deposit_in_savepoint,
    "hold": lambda wallet, other: wallet.hold(1, reference_type="bid", reference_id="1"),
    "release": release,
    "settle": settle,
    "freeze": lambda wallet, other: wallet.freeze("why"),
    "meta": lambda wallet, other: Wallet.objects.get(pk=wallet.pk).save(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_at_once(cached, api, coin_wallet, bob, uncached, name):
    other = bob.create_wallet(slug="doge", currency="DOGE")
    other.deposit(5)
    before = warm(api, coin_wallet)
    CHANGES[name](coin_wallet, other)
    after = read(api, coin_wallet)
    assert after != before
    assert after == uncached(api, coin_wallet) == warm(api, coin_wallet)


def test_an_escrow_is_seen_on_both_sides_at_once(cached, api, bobs_api, coin_wallet, bob, uncached):
    seller = bob.create_wallet(slug="doge", currency="DOGE")

    def check() -> None:
        for client, wallet in ((api, coin_wallet), (bobs_api, seller)):
            assert read(client, wallet) == uncached(client, wallet)
            warm(client, wallet)

    check()
    escrows = [
        open_escrow(buyer=coin_wallet, seller=seller, amount=2, order_id=order, fee_amount=1)
        for order in ("1", "2")
    ]
    check()
    release_escrow(escrows[0])
    check()
    refund_escrow(escrows[1])
    check()


def test_a_repaired_balance_is_seen_at_once(cached, api, coin_wallet, uncached):
    Wallet.objects.filter(pk=coin_wallet.pk).update(balance=99)
    warm(api, coin_wallet)
    coin_wallet.sync_balance()
    assert read(api, coin_wallet) == uncached(api, coin_wallet)


def test_new_and_deleted_wallets_are_seen_at_once(cached, api, alice):
    for _ in range(3):
        assert api.get("/api/wallets/").body["results"] == []
    pk = api.post("/api/wallets/", {"coin": "PTS"}).body["id"]
    for _ in range(3):
        assert [one["id"] for one in api.get("/api/wallets/").body["results"]] == [pk]
        assert api.get(f"/api/wallets/{pk}").status == 200
    api.client.delete(f"/api/wallets/{pk}", headers={"Authorization": f"Bearer {api.key}"})
    assert api.get("/api/wallets/").body["results"] == []
    assert api.get(f"/api/wallets/{pk}").status == 404


# Others at the same time


def read_balance(api: Api, wallet: Wallet) -> Decimal:
    return Decimal(api.get(f"/api/wallets/{wallet.pk}").body["balance"])


def list_open(redis_url: str) -> list[bytes]:
    return list(redis.Redis.from_url(redis_url).scan_iter("*:open"))


def run_writer(redis_url: str, *arguments: str) -> "subprocess.Popen[str]":
    database = connection.settings_dict
    url = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.rest.cache_writer", *arguments],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_nobody_reads_less_than_what_was_committed(cached, api, coin_wallet, redis_url):
    """Two processes deposit one at a time; threads read all the while, warm and cold."""
    committed = [0, 0]
    stale: list[tuple[Decimal, Decimal]] = []
    reads = [0, 0, 0]
    is_over = threading.Event()

    def follow(number: int) -> None:
        with run_writer(redis_url, "deposit", str(coin_wallet.pk), "60") as process:
            assert process.stdout is not None
            for line in process.stdout:
                committed[number] = int(line)

    def watch_balance(number: int) -> None:
        own = Api(api.key)
        try:
            while not is_over.is_set() or reads[number] <= 10:
                least = Decimal(10 + sum(committed))
                shown = read_balance(own, coin_wallet)
                reads[number] += 1
                if shown < least:
                    stale.append((shown, least))
        finally:
            connection.close()

    readers = [threading.Thread(target=watch_balance, args=(number,)) for number in range(3)]
    writers = [threading.Thread(target=follow, args=(number,)) for number in range(2)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    is_over.set()
    for thread in readers:
        thread.join()
    assert committed == [60, 60]
    assert stale == []
    assert min(reads) > 10
    assert read_balance(api, coin_wallet) == 130
    assert list_open(redis_url) == []


def test_nothing_is_kept_while_a_transaction_is_open(cached, api, coin_wallet, redis_url):
    warm(api, coin_wallet)
    with run_writer(redis_url, "open", str(coin_wallet.pk)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        for _ in range(3):
            assert read_balance(api, coin_wallet) == 10
        cache = get_cache()
        assert cache is not None
        assert cache.read([f"wallet:{coin_wallet.pk}"], "coin") == [(None, None)]
        process.communicate("\n")
    assert read_balance(api, coin_wallet) == 11


def test_a_second_open_transaction_keeps_readers_away_after_the_first_commits(
    cached, api, coin_wallet, redis_url
):
    cache = get_cache()
    assert cache is not None
    name = f"wallet:{coin_wallet.pk}"
    cache.open([name], "other")
    coin_wallet.deposit(1)
    assert cache.read([name], "coin") == [(None, None)]
    cache.close([name], "other")
    assert cache.read([name], "coin")[0].lease is not None


def test_who_dies_after_the_commit_leaves_nothing_old_behind(cached, api, coin_wallet, redis_url):
    warm(api, coin_wallet)
    with run_writer(redis_url, "killed", str(coin_wallet.pk)) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert read_balance(api, coin_wallet) == 11
    (key,) = list_open(redis_url)
    assert 0 < redis.Redis.from_url(redis_url).ttl(key) <= CHANGE_SECONDS


def test_what_was_read_before_a_movement_is_not_kept_after_it(cached, coin_wallet):
    """The reader that is overtaken: it read the old balance and comes to fill the cache after the commit."""
    cache = get_cache()
    assert cache is not None
    name = f"wallet:{coin_wallet.pk}"
    (found,) = cache.read([name], "coin")
    assert found.lease is not None
    coin_wallet.deposit(1)
    cache.fill("coin", [(name, found, b"old")])
    assert cache.read([name], "coin")[0].value is None


def test_a_rolled_back_transaction_is_forgotten(cached, api, coin_wallet, redis_url):
    with transaction.atomic():
        coin_wallet.deposit(1)
        transaction.set_rollback(True)
    assert len(list_open(redis_url)) == 1
    api.get("/healthz")
    assert list_open(redis_url) == []
    coin_wallet.deposit(1)
    assert read_balance(api, coin_wallet) == 11
    assert list_open(redis_url) == []


def test_a_refused_movement_leaves_nothing_open(cached, api, coin_wallet, redis_url):
    warm(api, coin_wallet)
    with pytest.raises(Exception, match="funds"):
        coin_wallet.withdraw(1_000)
    api.get("/healthz")
    assert list_open(redis_url) == []
    assert read_balance(api, coin_wallet) == 10


# Without Redis


@pytest.fixture
def own_redis(cached, settings: Any, tmp_path: Any) -> Iterator[RedisServer]:
    """A Redis that a test may stop."""
    with RedisServer(tmp_path / "data", free_port(), log=tmp_path / "log") as server:
        settings.REDIS_URL = f"{server.url()}?socket_timeout=60"
        yield server


def test_without_redis_everything_goes_on(own_redis, api, coin_wallet, monkeypatch):
    warm(api, coin_wallet)
    own_redis.stop()
    assert read_balance(api, coin_wallet) == 10
    coin_wallet.deposit(1)
    assert read_balance(api, coin_wallet) == 11


def test_what_changed_without_redis_is_ended_before_redis_is_read_again(
    own_redis, api, coin_wallet
):
    warm(api, coin_wallet)
    cache = get_cache()
    assert isinstance(cache, LeaseCache)
    pause = time.monotonic() + 3600
    cache._pause_until = (
        pause  # as after a failure: this process cannot reach Redis, which keeps what it has
    )
    coin_wallet.deposit(1)
    assert read_balance(api, coin_wallet) == 11
    cache._pause_until = 0
    assert read_balance(api, coin_wallet) == 11
