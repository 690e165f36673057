"""An exchange without an adapter of ours, by CCXT's unified calls: OKX's house for Europe, which the sandbox answers for."""

import pytest

from dj_wallet.exchanges import runtime
from dj_wallet.exchanges.venues import errors, get_venue
from tests.exchanges.stand import account_of, credentials_of, given

PATIENCE = {"timeout_seconds": 120}


def account():
    return account_of("myokx", load_credentials=lambda: credentials_of("okx"))


def fetch(currency: str, network: str | None = None):
    return runtime.fetch_deposit_address(account(), currency=currency, network=network, **PATIENCE)


def test_an_exchange_without_an_adapter_is_known_as_such():
    venue = get_venue("myokx")
    assert (venue.adapter, venue.is_verified, venue.can_create_address) == ("generic", False, False)


@pytest.mark.parametrize(("currency", "network"), [("USDT", "tron"), ("BTC", "bitcoin")])
def test_an_address_counts_if_the_answer_names_its_network(sandbox, currency, network):
    address = fetch(currency, network)
    assert address.address == given("okx", currency, network)[0].address
    assert (address.venue, address.network) == ("myokx", network)


def test_an_address_of_another_network_is_refused(sandbox):
    sandbox.break_down("wrong_network", "okx")
    with pytest.raises((errors.AddressInvalid, errors.NetworkMismatch)):
        fetch("USDT", "tron")


def test_a_network_that_is_not_named_in_words_we_know_is_refused(sandbox):
    with pytest.raises(errors.VenueError) as refusal:
        fetch("MINA")
    assert refusal.value.code in {"UNSUPPORTED_NETWORK", "NETWORK_MISMATCH"}


def test_what_its_key_may_do_is_not_known_and_not_guessed(sandbox):
    permissions = runtime.check_connection(account(), timeout_seconds=120).permissions
    assert (permissions.can_withdraw, permissions.can_trade) == (None, None)


def test_no_address_is_made_there(sandbox):
    with pytest.raises(errors.VenueNotSupported):
        runtime.create_deposit_address(account(), currency="BTC", network="bitcoin", **PATIENCE)
