"""Connecting, testing, changing and removing exchange accounts."""

from datetime import timedelta

import pytest
from django.utils import timezone

from dj_wallet.events.models import Event
from dj_wallet.exchanges import runtime
from dj_wallet.exchanges.credentials import open_credentials
from dj_wallet.exchanges.errors import (
    AccountChanged,
    AccountExists,
    AccountInactive,
    AccountMismatch,
    ApiKeyInUse,
    SealBroken,
    WithdrawPermissionPresent,
    WithdrawPermissionUnknown,
)
from dj_wallet.exchanges.guides import GUIDES
from dj_wallet.exchanges.models import AddressActivityLog, ExchangeAccount, SupportedExchange
from dj_wallet.exchanges.services.accounts import (
    check_account,
    get_usable,
    refuse_excess,
    remove_account,
    update_account,
)
from dj_wallet.exchanges.services.addresses import fetch_address
from dj_wallet.exchanges.venues import VENUES
from dj_wallet.exchanges.venues.contract import Credentials, Permissions
from dj_wallet.exchanges.venues.errors import (
    CredentialsIncomplete,
    InvalidCredentials,
    SandboxNotAvailable,
    VenueNotSupported,
    VenueUnavailable,
)
from tests.exchanges.people import connect
from tests.exchanges.stand import WITH_PASSPHRASE, credentials_of
from wallet_sandbox.exchanges.world import make_demo_key

pytestmark = pytest.mark.usefixtures("keys")


def list_events(kind: str) -> list[dict]:
    return [event.data for event in Event.objects.filter(type=kind).order_by("pk")]


@pytest.mark.parametrize("venue", list(VENUES))
def test_a_key_that_may_only_read_is_connected(sandbox, alice, venue):
    account = connect(alice, venue)
    assert open_credentials(ExchangeAccount.objects.get(pk=account.pk)) == credentials_of(venue)
    assert account.permissions["can_withdraw"] is False
    assert [event["exchange"] for event in list_events("exchange.connected")] == [venue]


@pytest.mark.parametrize("venue", list(VENUES))
def test_a_key_that_may_withdraw_is_refused_with_a_guide(sandbox, alice, venue):
    with pytest.raises(WithdrawPermissionPresent) as refused:
        connect(alice, venue, "careless")
    assert refused.value.details == {"exchange": venue, "least_privilege": GUIDES[venue]}
    assert not ExchangeAccount.objects.exists()


def test_the_policy_may_be_to_warn(sandbox, alice, settings):
    settings.EXCHANGES_PERMISSION_POLICY = "warn"
    account = connect(alice, "binance", "careless")
    assert account.permissions["warnings"][0] == "The key may withdraw."


def test_a_right_that_nobody_tells_of_is_refused_too():
    with pytest.raises(WithdrawPermissionUnknown):
        refuse_excess("elsewhere", Permissions(can_withdraw=None, can_trade=None))


@pytest.mark.parametrize("venue", list(VENUES))
def test_a_wrong_secret_connects_nothing(sandbox, alice, venue):
    other = credentials_of(venue, "bob")
    mixed = Credentials(credentials_of(venue).api_key, other.api_secret, other.passphrase)
    with pytest.raises(InvalidCredentials):
        connect(alice, venue, credentials=mixed)
    assert not ExchangeAccount.objects.exists()


@pytest.mark.parametrize("venue", WITH_PASSPHRASE)
def test_a_missing_passphrase_is_said_before_anything_is_asked(sandbox, alice, venue):
    key = credentials_of(venue)
    with pytest.raises(CredentialsIncomplete):
        connect(alice, venue, credentials=Credentials(key.api_key, key.api_secret))
    assert sandbox.calls(venue) == []


def test_one_key_is_not_in_two_accounts_whoever_has_them(sandbox, alice, bob):
    connect(alice)
    for user in (alice, bob):
        with pytest.raises(ApiKeyInUse):
            connect(user, account_name="another")
    assert ExchangeAccount.objects.count() == 1


def test_a_name_is_used_once_by_a_user_at_an_exchange(sandbox, alice, bob):
    connect(alice, account_name="main")
    with pytest.raises(AccountExists):
        connect(alice, person="bob", account_name="main")
    assert connect(bob, person="bob", account_name="main").account_name == "main"


def test_an_exchange_that_is_switched_off_is_not_connected(sandbox, alice):
    SupportedExchange.objects.filter(pk="kraken").update(is_active=False)
    with pytest.raises(VenueNotSupported):
        connect(alice, "kraken")


@pytest.mark.parametrize(("old", "new"), [("coinbasepro", "coinbase"), ("huobi", "htx")])
def test_old_names_connect_the_exchanges_of_today(sandbox, alice, old, new):
    account = connect(alice, new, exchange_id=old)
    assert account.exchange_id == new


@pytest.mark.parametrize("venue", list(VENUES))
def test_a_sandbox_account_is_never_live(sandbox, settings, alice, venue):
    settings.EXCHANGES_SANDBOX_ADDRESS = ""
    with pytest.raises(SandboxNotAvailable):
        connect(alice, venue)
    assert not ExchangeAccount.objects.exists()


# Testing


def test_rights_that_were_given_later_switch_the_account_off(sandbox, alice):
    account = connect(alice)
    key = make_demo_key("binance", "alice").key
    sandbox.set("change", venue="binance", key=key, permissions=["read", "withdraw"])
    with pytest.raises(WithdrawPermissionPresent):
        check_account(account)
    account.refresh_from_db()
    assert (account.is_active, account.error_code) == (False, "WITHDRAW_PERMISSION_PRESENT")
    with pytest.raises(AccountInactive):
        get_usable(account)
    assert [event["code"] for event in list_events("exchange.credentials_invalid")] == [
        "WITHDRAW_PERMISSION_PRESENT"
    ]


def test_a_key_that_is_refused_once_stays_in_use(sandbox, alice):
    account = connect(alice)
    sandbox.break_down("unknown_key", "binance", times=1)
    with pytest.raises(InvalidCredentials):
        check_account(account)
    account.refresh_from_db()
    assert account.is_active
    check_account(account)
    account.refresh_from_db()
    assert (account.refused_at, account.error_code) == (None, "")


def test_a_key_that_is_refused_again_a_minute_later_is_switched_off(sandbox, alice):
    account = connect(alice)
    sandbox.set("delete", venue="binance", key=make_demo_key("binance", "alice").key)
    for _ in range(2):
        with pytest.raises(InvalidCredentials):
            check_account(account)
    account.refresh_from_db()
    assert account.is_active  # both within a minute
    account.refused_at = timezone.now() - timedelta(seconds=61)
    with pytest.raises(InvalidCredentials):
        check_account(account)
    account.refresh_from_db()
    assert not account.is_active
    assert len(list_events("exchange.credentials_invalid")) == 1


def test_an_exchange_that_is_down_switches_nothing_off(sandbox, alice):
    account = connect(alice)
    sandbox.break_down("unavailable", "binance")
    for _ in range(2):
        with pytest.raises(VenueUnavailable):
            check_account(account)
    account.refresh_from_db()
    assert account.is_active
    assert len(list_events("exchange.disrupted")) == 1
    assert len(list_events("exchange.connection_failed")) == 1
    sandbox.repair()


@pytest.mark.parametrize(("days", "told"), [(20, None), (13, 14), (6, 7), (0.5, 1)])
def test_the_end_of_a_key_is_told_once_for_each_step(sandbox, alice, days, told):
    account = connect(alice, "kraken")
    end = timezone.now() + timedelta(days=days)
    key = make_demo_key("kraken", "alice").key
    sandbox.set("change", venue="kraken", key=key, valid_until=int(end.timestamp()))
    for _ in range(2):
        check_account(account)
    expected = [] if told is None else [told]
    assert [event["days"] for event in list_events("exchange.credentials_expiring")] == expected


# Changing


def test_new_credentials_take_the_place_of_the_old_ones_when_they_work(sandbox, alice):
    account = connect(alice)
    fetch_address(account, currency="BTC")
    sandbox.set("keys", venue="binance", key="new-key-of-alice", secret="new secret of alice")
    update_account(account, credentials=Credentials("new-key-of-alice", "new secret of alice"))
    stored = ExchangeAccount.objects.get(pk=account.pk)
    assert open_credentials(stored).api_key == "new-key-of-alice"
    assert (stored.credentials_version, stored.key_hint) == (2, "lice")
    address, _ = fetch_address(stored, currency="ETH", network="ethereum")
    assert address.address  # with the new key: the old client is gone


def test_new_credentials_that_do_not_work_change_nothing(sandbox, alice):
    account = connect(alice)
    with pytest.raises(InvalidCredentials):
        update_account(account, credentials=Credentials("unknown-key", "unknown secret"))
    stored = ExchangeAccount.objects.get(pk=account.pk)
    assert open_credentials(stored) == credentials_of("binance")
    assert fetch_address(stored, currency="BTC")[0].currency == "BTC"


def test_the_key_of_another_account_is_refused(sandbox, alice):
    account = connect(alice, "okx")
    with pytest.raises(AccountMismatch):
        update_account(account, credentials=credentials_of("okx", "bob"))
    assert open_credentials(ExchangeAccount.objects.get(pk=account.pk)) == credentials_of("okx")


def test_a_change_beside_another_one_is_refused(sandbox, alice):
    account, again = connect(alice), None
    again = ExchangeAccount.objects.get(pk=account.pk)
    remove_account(account)
    with pytest.raises(AccountChanged):
        update_account(again, account_name="other")


# Removing


def test_a_removed_account_cannot_be_decrypted_and_keeps_its_history(sandbox, alice):
    account = connect(alice)
    address, _ = fetch_address(account, currency="BTC")
    remove_account(account)
    stored = ExchangeAccount.objects.get(pk=account.pk)
    assert (stored.sealed_key, stored.sealed_credentials, stored.key_hint) == ("", "", "")
    with pytest.raises(SealBroken):
        open_credentials(stored)
    address.refresh_from_db()
    assert address.deleted_at is not None
    actions = AddressActivityLog.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["exchange.connected", "address.created", "exchange.removed"]


def test_a_removed_accounts_key_and_name_are_free_again(sandbox, alice, bob):
    remove_account(connect(alice))
    assert connect(bob).user_id == bob.pk


def test_a_key_is_opened_for_its_own_record_only(sandbox, alice, bob):
    """Rows that are copied to another user's account do not open there."""
    account, other = connect(alice), connect(bob, person="bob")
    other.sealed_key, other.sealed_credentials = account.sealed_key, account.sealed_credentials
    with pytest.raises(SealBroken):
        open_credentials(other)


def test_nobody_gets_the_runtimes_client_of_another(sandbox, alice, bob):
    first, second = connect(alice), connect(bob, person="bob")
    one, _ = fetch_address(first, currency="BTC")
    other, _ = fetch_address(second, currency="BTC")
    assert one.address != other.address
    runtime.forget(str(first.pk))
