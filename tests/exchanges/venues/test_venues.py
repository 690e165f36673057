"""All eight venues through the real CCXT client, over TLS, against the sandbox: the rules of the venues layer."""

import pytest

from dj_wallet.exchanges import runtime
from dj_wallet.exchanges.venues import ALIASES, VENUES, errors, get_venue, list_venues
from dj_wallet.exchanges.venues.contract import AddressState, Credentials, NetworkSource
from tests.exchanges.stand import VENUES as IDS
from tests.exchanges.stand import account_of, credentials_of, given
from wallet_sandbox.exchanges.coins import NETWORKS_OF, TAGGED

every_venue = pytest.mark.parametrize("venue", IDS)
# Less than the 100 seconds for which a venue that is broken down wants to be left alone: nobody waits for that.
PATIENCE = {"timeout_seconds": 60}

CREATES = ("coinbase", "kraken", "bitfinex", "kucoin")


def fetch(venue: str, currency: str, network: str | None = None, person: str = "alice"):
    return runtime.fetch_deposit_address(
        account_of(venue, person), currency=currency, network=network, **PATIENCE
    )


def fetch_all(venue: str, currency: str):
    return runtime.fetch_deposit_addresses(account_of(venue), currency=currency, **PATIENCE)


# What comes back


@every_venue
@pytest.mark.parametrize(
    ("currency", "network"),
    [("BTC", "bitcoin"), ("XRP", "xrp"), ("USDT", "tron"), ("USDT", "ethereum")],
)
def test_the_address_is_the_one_the_venue_gives_on_that_network(sandbox, venue, currency, network):
    address = fetch(venue, currency, network)
    wanted = given(venue, currency, network)[0]
    assert (address.address, address.tag) == (wanted.address, wanted.tag)
    assert (address.venue, address.currency, address.network) == (venue, currency, network)
    assert address.state is AddressState.CURRENT
    assert address.venue_network
    assert address.network_label


@every_venue
def test_the_network_may_be_named_by_its_everyday_name(sandbox, venue):
    assert fetch(venue, "usdt", "TRC20") == fetch(venue, "USDT", "tron")


@every_venue
def test_a_currency_on_one_network_needs_no_name(sandbox, venue):
    assert fetch(venue, "XRP").network == "xrp"


@every_venue
def test_a_currency_on_several_networks_needs_one_and_lists_them(sandbox, venue):
    with pytest.raises(errors.NetworkRequired) as refusal:
        fetch(venue, "USDT")
    assert set(refusal.value.choices) == {"ethereum", "tron", "solana"}
    assert refusal.value.code == "NETWORK_REQUIRED"


@every_venue
@pytest.mark.parametrize("network", ["arbitrum", "ARB", "lightning"])
def test_another_network_is_refused_and_never_the_default_one_given(sandbox, venue, network):
    """CCXT gives Kraken's ERC20 address to who asks for USDT on Arbitrum."""
    with pytest.raises(errors.NetworkNotSupported) as refusal:
        fetch(venue, "USDT", network)
    assert refusal.value.code == "UNSUPPORTED_NETWORK"


@every_venue
def test_a_currency_that_is_not_listed_is_refused(sandbox, venue):
    with pytest.raises(errors.CurrencyNotSupported):
        fetch(venue, "NOCOIN")


@every_venue
@pytest.mark.parametrize("currency", ["", "../x", "BTC&x=1", "B" * 50, "BTC\n", "\u0412TC"])
def test_what_is_no_currency_reaches_no_venue(sandbox, venue, currency):
    with pytest.raises(errors.CurrencyNotSupported):
        fetch(venue, currency, "bitcoin") if currency != "BTC\n" else fetch(venue, "BT C")
    assert sandbox.calls(venue) == []


@every_venue
def test_a_network_that_we_cannot_verify_is_refused(sandbox, venue):
    with pytest.raises(errors.NetworkNotSupported):
        fetch(venue, "MINA")
    addresses = fetch_all(venue, "MINA")
    assert addresses.found == ()
    assert [refused.code for refused in addresses.refused] == ["UNSUPPORTED_NETWORK"]


@every_venue
def test_one_address_of_the_ethereum_family_is_told_apart_by_network(sandbox, venue):
    found = {one.network: one.address for one in fetch_all(venue, "USDC").found}
    assert len(set(found.values()) - {found.get("solana")}) == 1
    wanted = {"ethereum"} if venue == "bitfinex" else {"ethereum", "solana", "arbitrum", "base"}
    assert set(found) == wanted


@every_venue
def test_renamed_coins_are_asked_for_by_their_own_names(sandbox, venue):
    assert fetch(venue, "XBT") == fetch(venue, "BTC")
    assert fetch(venue, "DOGE").network == "dogecoin"


@every_venue
def test_every_coin_of_the_sandbox_comes_back_verified(sandbox, venue):
    """Each coin and network; CCXT loads no markets for it."""
    sandbox.set("limits", kept=False)
    unlimited = ("binance", "coinbase", "kucoin")
    coins = list(NETWORKS_OF) if venue in unlimited else ["ATOM", "TON", "ADA", "KAS", "LINK"][: 2 if venue in {"bybit", "bitfinex"} else 4]  # fmt: skip
    outcomes = {
        outcome.currency: outcome
        for outcome in runtime.fetch_many(account_of(venue), coins, budget_seconds=60)
    }
    for coin in coins:
        assert outcomes[coin].error is None
        found = {(one.network, one.address, one.tag) for one in outcomes[coin].addresses.found}
        wanted = {
            (network, first.address, first.tag)
            for network in NETWORKS_OF[coin]
            if network != "mina"
            for first in [given(venue, coin, network)[0]]
        }
        assert found == wanted, coin
    assert not [
        path for path in sandbox.calls(venue) if "exchangeInfo" in path or "instruments" in path
    ]


# Tags


@every_venue
@pytest.mark.parametrize("currency", ["XRP", "XLM", "ATOM", "TON"])
def test_a_tag_comes_with_the_address_that_needs_it(sandbox, venue, currency):
    address = fetch(venue, currency)
    assert address.tag_required
    assert address.tag == given(venue, currency, address.network)[0].tag


@every_venue
def test_an_address_that_needs_a_tag_is_refused_without(sandbox, venue):
    sandbox.break_down("without_tag", venue)
    with pytest.raises(errors.TagMissing):
        fetch(venue, "XRP", "xrp")
    assert fetch_all(venue, "XRP").found == ()


@every_venue
def test_no_tag_is_none_and_not_an_empty_text(sandbox, venue):
    assert fetch(venue, "BTC", "bitcoin").tag is None


# What a venue gets wrong


@every_venue
def test_an_address_with_a_wrong_checksum_is_refused(sandbox, venue):
    sandbox.break_down("wrong_checksum", venue)
    with pytest.raises(errors.AddressInvalid):
        fetch(venue, "BTC", "bitcoin")


@every_venue
def test_an_address_of_another_network_is_refused(sandbox, venue):
    sandbox.break_down("wrong_network", venue)
    with pytest.raises((errors.AddressInvalid, errors.NetworkMismatch)):
        fetch(venue, "USDT", "tron")


@every_venue
def test_a_sentence_in_place_of_the_address_is_refused(sandbox, venue):
    sandbox.break_down("blocked_text", venue)
    with pytest.raises(errors.AddressInvalid):
        fetch(venue, "BTC", "bitcoin")


@every_venue
def test_no_address_yet_is_said(sandbox, venue):
    sandbox.break_down("pending", venue)
    with pytest.raises(errors.AddressNotAvailable):
        fetch(venue, "BTC", "bitcoin")


def test_where_chains_share_a_form_binance_names_the_chain_by_its_explorer(sandbox):
    assert fetch("binance", "USDC", "arbitrum").network_source is NetworkSource.VENUE
    runtime.close()
    sandbox.break_down("wrong_network", "binance", path="deposit/address")
    with pytest.raises(errors.NetworkMismatch):
        fetch("binance", "USDC", "arbitrum")


def test_without_an_explorer_the_network_is_the_one_that_was_asked_for(sandbox):
    sandbox.break_down("without_url", "binance")
    assert fetch("binance", "USDT", "tron").network_source is NetworkSource.REQUEST


def test_bitfinex_must_answer_for_the_method_that_was_asked_for(sandbox):
    sandbox.break_down("wrong_network", "bitfinex")
    with pytest.raises(errors.NetworkMismatch):
        fetch("bitfinex", "USDT", "tron")


@pytest.mark.parametrize("venue", ["binance", "htx", "kucoin", "bybit", "okx", "bitfinex"])
def test_closed_deposits_are_a_warning_on_the_address(sandbox, venue):
    sandbox.break_down("deposits_disabled", venue)
    assert fetch(venue, "BTC", "bitcoin").warnings == ("deposits_disabled",)
    options = runtime.list_networks(account_of(venue), currency="BTC")
    assert [option.deposits_enabled for option in options] == [False]


# Old addresses


@every_venue
def test_a_rotated_address_is_the_current_one(sandbox, venue):
    before = fetch(venue, "BTC", "bitcoin")
    sandbox.rotate(venue, "BTC", "bitcoin")
    after = fetch(venue, "BTC", "bitcoin")
    assert after.address == given(venue, "BTC", "bitcoin", rotations=1)[0].address
    assert after.address != before.address


@pytest.mark.parametrize("venue", ["okx", "kraken", "coinbase"])
def test_earlier_addresses_are_listed_as_inactive(sandbox, venue):
    before = fetch(venue, "BTC", "bitcoin").address
    sandbox.rotate(venue, "BTC", "bitcoin")
    states = {one.address: one.state for one in fetch_all(venue, "BTC").found}
    now = given(venue, "BTC", "bitcoin", rotations=1)[0].address
    assert states == {before: AddressState.INACTIVE, now: AddressState.CURRENT}


def test_kraken_says_when_an_earlier_address_expires(sandbox):
    sandbox.rotate("kraken", "BTC", "bitcoin")
    current, earlier = fetch_all("kraken", "BTC").found
    assert current.expires_at is None
    assert earlier.expires_at is not None


# Lists


@every_venue
def test_the_networks_of_a_currency_are_listed_in_our_words(sandbox, venue):
    options = runtime.list_networks(account_of(venue), currency="USDT", **PATIENCE)
    assert {option.network for option in options} == {"ethereum", "tron", "solana"}
    assert all(option.venue_network and option.label for option in options)


@every_venue
def test_the_currencies_are_listed_and_nothing_of_the_keys_owner_with_them(sandbox, venue):
    options = runtime.list_networks(account_of(venue), **PATIENCE)
    assert {option.currency for option in options} >= set(NETWORKS_OF)
    assert "1.5" not in repr(options)  # the balance that Binance sends along


def test_coinbase_wallets_and_addresses_are_read_to_the_last_page(sandbox):
    sandbox.set("wallets", extra=300)
    for _ in range(30):
        sandbox.rotate("coinbase", "BTC", "bitcoin")
    found = fetch_all("coinbase", "BTC").found
    assert len(found) == 31
    assert [one.address for one in found if one.state is AddressState.CURRENT] == [
        given("coinbase", "BTC", "bitcoin", rotations=30)[0].address
    ]


# New addresses


@pytest.mark.parametrize("venue", CREATES)
def test_a_new_address_is_made_and_the_old_one_stays_known(sandbox, venue):
    before = fetch(venue, "BTC", "bitcoin")
    made = runtime.create_deposit_address(
        account_of(venue), currency="BTC", network="bitcoin", **PATIENCE
    )
    assert made.address == given(venue, "BTC", "bitcoin", rotations=1)[0].address
    assert fetch(venue, "BTC", "bitcoin").address == made.address != before.address


@pytest.mark.parametrize("venue", sorted(set(IDS) - set(CREATES)))
def test_a_venue_that_makes_no_addresses_says_so(sandbox, venue):
    with pytest.raises(errors.VenueNotSupported):
        runtime.create_deposit_address(
            account_of(venue), currency="BTC", network="bitcoin", **PATIENCE
        )
    assert not get_venue(venue).can_create_address


@pytest.mark.parametrize("venue", ["kraken", "kucoin"])
def test_the_venues_own_limit_of_addresses_is_said(sandbox, venue):
    for _ in range(4):
        sandbox.rotate(venue, "BTC", "bitcoin")
    with pytest.raises(errors.AddressLimitReached):
        runtime.create_deposit_address(
            account_of(venue), currency="BTC", network="bitcoin", **PATIENCE
        )


def test_no_address_is_made_where_deposits_are_closed(sandbox):
    sandbox.break_down("deposits_disabled", "kucoin")
    with pytest.raises(errors.DepositsDisabled):
        runtime.create_deposit_address(
            account_of("kucoin"), currency="BTC", network="bitcoin", **PATIENCE
        )
    assert "/api/v3/deposit-address/create" not in sandbox.calls("kucoin")


# Keys


@every_venue
def test_a_wrong_secret_is_refused(sandbox, venue):
    right, other = credentials_of(venue), credentials_of(venue, "bob")
    wrong = Credentials(right.api_key, other.api_secret, right.passphrase)
    account = account_of(venue, load_credentials=lambda: wrong)
    with pytest.raises(errors.InvalidCredentials):
        runtime.fetch_deposit_address(account, currency="BTC", network="bitcoin", **PATIENCE)
    with pytest.raises(errors.InvalidCredentials):
        runtime.check_connection(account)


@every_venue
def test_a_wrong_key_is_refused(sandbox, venue):
    right = credentials_of(venue)
    wrong = Credentials("organizations/x/apiKeys/unknown", right.api_secret, right.passphrase)
    with pytest.raises(errors.InvalidCredentials):
        runtime.check_connection(account_of(venue, load_credentials=lambda: wrong))


@pytest.mark.parametrize("venue", ["kucoin", "okx"])
def test_a_wrong_passphrase_is_refused_and_a_missing_one_never_sent(sandbox, venue):
    right = credentials_of(venue)
    wrong = Credentials(right.api_key, right.api_secret, "other words")
    with pytest.raises(errors.InvalidCredentials):
        runtime.check_connection(account_of(venue, load_credentials=lambda: wrong))
    calls = len(sandbox.calls(venue))
    without = Credentials(right.api_key, right.api_secret)
    with pytest.raises(errors.CredentialsIncomplete):
        runtime.check_connection(
            account_of(venue, load_credentials=lambda: without, credentials_version=2)
        )
    assert len(sandbox.calls(venue)) == calls


@pytest.mark.parametrize("venue", ["kraken", "coinbase"])
def test_a_secret_that_cannot_sign_is_refused_before_anything_is_sent(sandbox, venue):
    broken = Credentials(credentials_of(venue).api_key, "-----BEGIN nonsense")
    with pytest.raises(errors.CredentialsIncomplete):
        runtime.check_connection(account_of(venue, load_credentials=lambda: broken))
    assert sandbox.calls(venue) == []


@every_venue
@pytest.mark.parametrize(
    ("person", "may_trade", "may_withdraw"),
    [("alice", False, False), ("trader", True, False), ("careless", True, True)],
)
def test_what_a_key_may_do_is_read(sandbox, venue, person, may_trade, may_withdraw):
    permissions = runtime.check_connection(account_of(venue, person)).permissions
    assert (permissions.can_trade, permissions.can_withdraw) == (may_trade, may_withdraw)
    assert permissions.can_read_addresses
    assert permissions.named


@every_venue
def test_a_key_without_permissions_fetches_nothing(sandbox, venue):
    with pytest.raises((errors.PermissionMissing, errors.InvalidCredentials)):
        fetch(venue, "BTC", "bitcoin", person="nobody")


@pytest.mark.parametrize("venue", sorted(set(IDS) - {"binance", "coinbase", "kraken", "htx"}))
def test_a_key_tied_to_other_addresses_is_told_from_a_wrong_one(sandbox, venue):
    sandbox.set("change", venue=venue, key=credentials_of(venue).api_key, allowed_ip="192.0.2.1")
    with pytest.raises(errors.IPNotAllowed):
        runtime.check_connection(account_of(venue))


@pytest.mark.parametrize("venue", ["binance", "kraken", "htx", "kucoin", "bybit", "okx"])
def test_a_key_that_is_tied_to_our_address_says_so(sandbox, venue):
    key = credentials_of(venue).api_key
    assert runtime.check_connection(account_of(venue)).permissions.is_ip_restricted is False
    sandbox.set("change", venue=venue, key=key, allowed_ip="127.0.0.1")
    assert runtime.check_connection(account_of(venue)).permissions.is_ip_restricted is True


@pytest.mark.parametrize("venue", ["kraken", "htx", "bybit"])
def test_the_end_of_a_key_is_read(sandbox, venue):
    key, ends = credentials_of(venue).api_key, 1_900_000_000
    sandbox.set("change", venue=venue, key=key, valid_until=ends)
    assert runtime.check_connection(account_of(venue)).permissions.expires_at is not None


# Names


def test_old_names_lead_to_the_venues_of_today():
    assert get_venue("coinbasepro").id == "coinbase"
    assert get_venue("Huobi").id == "htx"
    assert set(ALIASES.values()) <= set(VENUES)
    assert [venue.id for venue in list_venues()] == list(IDS)


def test_an_unknown_exchange_is_refused():
    with pytest.raises(errors.VenueNotSupported):
        get_venue("nowhere")


def test_every_tag_that_the_sandbox_demands_is_demanded_by_us():
    from dj_wallet.exchanges.venues.networks import NETWORKS

    assert {network.id for network in NETWORKS.values() if network.tag_required} == TAGGED
