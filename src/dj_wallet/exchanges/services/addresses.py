"""Fetching deposit addresses and keeping them: nothing is overwritten, and what was kept is known by its seal."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, NamedTuple

from django.db import IntegrityError, transaction
from django.utils import timezone

from dj_wallet.exchanges import runtime
from dj_wallet.exchanges.credentials.fingerprint import make_digest
from dj_wallet.exchanges.errors import (
    AddressNotConfirmed,
    AddressTampered,
    CreationConflict,
    VenueError,
)
from dj_wallet.exchanges.journal import NOBODY, Origin, describe_address, log_activity, publish
from dj_wallet.exchanges.models import AddressCreation, DepositAddress, ExchangeAccount
from dj_wallet.exchanges.venues import contract
from dj_wallet.exchanges.venues.contract import Addresses, AddressState
from dj_wallet.exchanges.venues.errors import NetworkRequired, OutcomeUnknown
from dj_wallet.exchanges.venues.networks import get_network, read_currency

from .accounts import get_usable, note_failure

# Many at once: how long together, by how many threads, and what the last of them gets at least.
BULK_SECONDS: Final = 20.0
BULK_THREADS: Final = 16
SHORTEST_SECONDS: Final = 0.5
# A complete answer that does not name an address may be an accident; two in a row are none.
ABSENCES_TO_MISS: Final = 2
State = DepositAddress.State


@dataclass(slots=True)
class Changes:
    """What storing an answer did."""

    added: int = 0
    updated: int = 0
    removed: int = 0


def fetch_address(
    account: ExchangeAccount,
    *,
    currency: str,
    network: str | None = None,
    label: str | None = None,
    description: str | None = None,
    user_metadata: Mapping[str, Any] | None = None,
    origin: Origin = NOBODY,
) -> tuple[DepositAddress, bool]:
    """Ask the exchange for its address and keep it; return it and whether it is new. Not inside a transaction.

    :raises VenueError: there is none that we can vouch for; nothing is stored
    """
    found = _ask(account, currency, network)
    found = _confirm(account, found, network)
    labels = {"label": label, "description": description, "user_metadata": user_metadata}
    given = {name: value for name, value in labels.items() if value is not None}
    with transaction.atomic():
        before = set(_list_kept(account, found.currency).values_list("pk", flat=True))
        address = _keep(account, found, origin)
        if given:
            for name, value in given.items():
                setattr(address, name, value)
            address.save(update_fields=[*given, "updated_at"])
    return address, address.pk not in before


class Order(NamedTuple):
    """An address that is wanted, of many."""

    account: ExchangeAccount
    currency: str
    network: str | None


def fetch_each(
    orders: Sequence[Order], *, origin: Origin = NOBODY
) -> list[DepositAddress | VenueError]:
    """Fetch each on its own and at the same time; return its address or why there is none, in order.

    The exchanges are asked by several threads, the database by this one only.
    """
    deadline = monotonic() + BULK_SECONDS
    with ThreadPoolExecutor(max_workers=min(len(orders), BULK_THREADS)) as threads:
        asked = [threads.submit(_answer, order, deadline) for order in orders]
        answers = [one.result() for one in asked]
    outcomes: list[DepositAddress | VenueError] = []
    for order, answer in zip(orders, answers, strict=True):
        try:
            outcomes.append(_keep_answer(order, answer, origin))
        except VenueError as error:
            outcomes.append(error)
    return outcomes


def _answer(order: Order, deadline: float) -> contract.DepositAddress | VenueError:
    """Ask the exchange, in a thread of its own."""
    try:
        return runtime.fetch_deposit_address(
            get_usable(order.account),
            currency=order.currency,
            network=order.network,
            timeout_seconds=max(SHORTEST_SECONDS, deadline - monotonic()),
        )
    except VenueError as error:
        return error


def _keep_answer(
    order: Order, answer: contract.DepositAddress | VenueError, origin: Origin
) -> DepositAddress:
    """:raises VenueError: there is no address to keep"""
    if isinstance(answer, VenueError):
        note_failure(order.account, answer)
        raise answer
    found = _confirm(order.account, answer, order.network)
    return _keep(order.account, found, origin)


def _keep(
    account: ExchangeAccount, found: contract.DepositAddress, origin: Origin
) -> DepositAddress:
    with transaction.atomic():
        store_addresses(account, found.currency, (found,), origin=origin, revive=True)
        return _get_kept(account, found)


def create_address(
    account: ExchangeAccount,
    *,
    currency: str,
    network: str | None,
    key: str,
    origin: Origin = NOBODY,
) -> tuple[DepositAddress, bool]:
    """Have the exchange make a new address, at most once for a key; return it and whether it was made before.

    Must not run inside a transaction. The key is committed before the exchange is asked.

    :raises NetworkRequired: no network is named
    :raises CreationConflict: the key was used for another address
    :raises OutcomeUnknown: it may have been made; fetch the addresses to see
    :raises VenueError: the exchange refused; the key is used up
    """
    if not network:
        raise NetworkRequired(
            "Name the network of the new address.", venue=account.exchange_id, currency=currency
        )
    usable, currency = get_usable(account), read_currency(currency)
    wanted = get_network(network).id
    creation = AddressCreation(key=key, exchange_account=account, currency=currency, network=wanted)
    try:
        with transaction.atomic():
            creation.save()
    except IntegrityError:
        return _replay(creation), True
    try:
        found = runtime.create_deposit_address(usable, currency=currency, network=wanted)
    except OutcomeUnknown:
        raise
    except VenueError as error:
        AddressCreation.objects.filter(pk=creation.pk).update(status=AddressCreation.Status.REFUSED)
        note_failure(account, error)
        raise
    with transaction.atomic():
        address = _keep(account, found, origin)
        AddressCreation.objects.filter(pk=creation.pk).update(
            status=AddressCreation.Status.MADE, address=address
        )
    return address, False


def _replay(wanted: AddressCreation) -> DepositAddress:
    """Return the address that an earlier request with the key made.

    :raises CreationConflict: it was for another address, or was refused
    :raises OutcomeUnknown: what became of it is not known
    """
    made = AddressCreation.objects.select_related("address").get(key=wanted.key)
    same = (made.exchange_account_id, made.currency, made.network)
    if same != (wanted.exchange_account_id, wanted.currency, wanted.network):
        raise CreationConflict("The idempotency key was used for another address.")
    if made.status == AddressCreation.Status.REFUSED:
        raise CreationConflict("The exchange refused the request of this key: use a new one.")
    if made.address is None:
        raise OutcomeUnknown(
            "An address may have been made. Fetch the addresses before asking again.",
            venue=wanted.exchange_account.exchange_id,
            currency=wanted.currency,
            network=wanted.network,
        )
    return made.address


def refresh_address(address: DepositAddress, *, origin: Origin = NOBODY) -> DepositAddress:
    """Ask the exchange again; return the address that is current then, which may be another. Not inside a transaction.

    :raises VenueError: why it could not be verified; nothing changes
    """
    fresh, _ = fetch_address(
        address.exchange_account,
        currency=address.currency,
        network=address.network,
        origin=origin,
    )
    return fresh


def update_address(
    address: DepositAddress, changes: Mapping[str, Any], *, origin: Origin = NOBODY
) -> DepositAddress:
    """Change label, description, metadata or whether the owner uses it; never what a payer copies."""
    old = {name: getattr(address, name) for name in changes}
    for name, value in changes.items():
        setattr(address, name, value)
    with transaction.atomic():
        address.save(update_fields=[*changes, "updated_at"])
        log_activity(
            address.exchange_account,
            "address.updated",
            address=address,
            old=old,
            new=changes,
            origin=origin,
        )
    return address


def remove_address(address: DepositAddress, *, origin: Origin = NOBODY) -> None:
    """Hide an address from its owner's lists; its row and history stay. Idempotent."""
    now = timezone.now()
    present = DepositAddress.objects.present().filter(pk=address.pk)
    with transaction.atomic():
        if present.update(deleted_at=now, is_active=False, updated_at=now):
            address.deleted_at, address.is_active = now, False
            log_activity(
                address.exchange_account, "address.removed", address=address, origin=origin
            )


def store_answer(account: ExchangeAccount, currency: str, addresses: Addresses) -> Changes:
    """Keep a complete answer for a currency: what is new, what was seen again, what was not named. One transaction."""
    with transaction.atomic():
        changes = store_addresses(account, currency, addresses.found)
        refused = {one.network for one in addresses.refused}
        changes.removed = _note_absent(account, currency, addresses.found, refused)
    return changes


def differs(
    account: ExchangeAccount, currency: str, found: Iterable[contract.DepositAddress]
) -> bool:
    """Tell whether an answer names another current address than the one that we show."""
    current = {one.network: (one.address, one.tag) for one in found if _is_current(one)}
    kept = _list_kept(account, currency).filter(state=State.CURRENT)
    return any(
        one.network in current and current[one.network] != (one.address, one.tag) for one in kept
    )


def store_addresses(
    account: ExchangeAccount,
    currency: str,
    found: Sequence[contract.DepositAddress],
    *,
    origin: Origin = NOBODY,
    revive: bool = False,
) -> Changes:
    """Keep addresses, in the caller's transaction. The account's row is locked, so that two answers come one by one.

    :param revive: show an address again that its owner had removed: it was asked for
    """
    ExchangeAccount.objects.select_for_update(no_key=True).get(pk=account.pk)
    kept = {_identify(one): one for one in _list_kept(account, currency)}
    changes = Changes()
    for one in found:
        row = kept.get((one.network, one.address, one.tag))
        if row is None:
            row = _add(account, one, origin)
            changes.added += 1
        else:
            changes.updated += _see_again(row, one, origin, revive=revive)
        if row.state == State.CURRENT:
            _supersede_others(account, kept.values(), row, origin)
    return changes


def _add(account: ExchangeAccount, one: contract.DepositAddress, origin: Origin) -> DepositAddress:
    row = DepositAddress(
        exchange_account=account,
        user_id=account.user_id,
        exchange_id=account.exchange_id,
        currency=one.currency,
        network=one.network,
        address=one.address,
        tag=one.tag,
    )
    _take_facts(row, one)
    row.seal = make_seal(row)
    row.save(force_insert=True)
    log_activity(account, "address.created", address=row, new=describe_address(row), origin=origin)
    publish(account, "address.created", **describe_address(row))
    return row


def _see_again(
    row: DepositAddress, one: contract.DepositAddress, origin: Origin, *, revive: bool
) -> int:
    """Note that the exchange named the address again; return 1 if anything but the time changed."""
    names = ("state", "tag_required", "network_source", "network_label", "warnings", "expires_at")
    before = [getattr(row, name) for name in (*names, "deleted_at")]
    _take_facts(row, one)
    if revive and row.deleted_at is not None:
        row.deleted_at, row.is_active = None, True
        log_activity(row.exchange_account, "address.restored", address=row, origin=origin)
    row.save()
    return int(before != [getattr(row, name) for name in (*names, "deleted_at")])


def _take_facts(row: DepositAddress, one: contract.DepositAddress) -> None:
    row.network_exchange_id, row.network_label = one.venue_network, one.network_label
    row.network_source = one.network_source.value
    row.tag_required = one.tag_required
    row.state = State.CURRENT if _is_current(one) else State.SUPERSEDED
    row.warnings = list(one.warnings)
    row.expires_at = one.expires_at
    told = {
        "confirmations": one.confirmations,
        "minimum_deposit": one.minimum_deposit,
        "contract": one.contract or None,
    }
    row.exchange_metadata = {name: value for name, value in told.items() if value is not None}
    row.absences = 0
    row.last_verified_at = timezone.now()


def _supersede_others(
    account: ExchangeAccount, kept: Iterable[DepositAddress], new: DepositAddress, origin: Origin
) -> None:
    """Mark the addresses that this one takes the place of. They stay: deposits to them may still arrive."""
    for old in kept:
        if old.pk == new.pk or old.network != new.network or old.state != State.CURRENT:
            continue
        old.state = State.SUPERSEDED
        old.save(update_fields=["state", "updated_at"])
        log_activity(
            account,
            "address.rotated",
            address=old,
            old=describe_address(old),
            new=describe_address(new),
            origin=origin,
        )
        publish(
            account,
            "address.rotated",
            **describe_address(new),
            previous_address_id=str(old.pk),
            previous_address=old.address,
            previous_tag=old.tag,
        )


def _note_absent(
    account: ExchangeAccount,
    currency: str,
    found: Sequence[contract.DepositAddress],
    refused: set[str],
) -> int:
    """Count what a complete answer did not name; return how many are missing now. A refused network says nothing."""
    named = {(one.network, one.address, one.tag) for one in found}
    missing = 0
    for row in _list_kept(account, currency).exclude(state=State.MISSING):
        if _identify(row) in named or row.network in refused or "" in refused:
            continue
        row.absences += 1
        if row.state == State.CURRENT and row.absences >= ABSENCES_TO_MISS:
            row.state, missing = State.MISSING, missing + 1
            log_activity(account, "address.missing", address=row, old=describe_address(row))
            publish(account, "address.missing", **describe_address(row))
        row.save(update_fields=["absences", "state", "updated_at"])
    return missing


def _ask(account: ExchangeAccount, currency: str, network: str | None) -> contract.DepositAddress:
    try:
        return runtime.fetch_deposit_address(
            get_usable(account), currency=currency, network=network
        )
    except VenueError as error:
        note_failure(account, error)
        raise


def _confirm(
    account: ExchangeAccount, found: contract.DepositAddress, network: str | None
) -> contract.DepositAddress:
    """Ask a second time where the answer is another address than ours: one answer may be forged or a mistake.

    :raises AddressNotConfirmed: the second answer names yet another
    """
    if not differs(account, found.currency, (found,)):
        return found
    again = _ask(account, found.currency, network)
    if (again.address, again.tag) != (found.address, found.tag):
        raise AddressNotConfirmed(
            "The exchange named two different addresses: neither is shown.",
            venue=account.exchange_id,
            currency=found.currency,
            network=found.network,
        )
    return again


# Seals


def make_seal(address: DepositAddress) -> str:
    """Return the digest of what a payer copies and of whose it is."""
    return make_digest(
        "deposit-address",
        str(address.exchange_account_id),
        address.currency,
        address.network,
        address.address,
        address.tag,
    )


def is_intact(address: DepositAddress) -> bool:
    """Tell whether the address is the one that was stored."""
    return address.seal == make_seal(address)


def require_intact(address: DepositAddress) -> None:
    """Refuse an address that was changed behind our back, and tell once. Commits by itself.

    :raises AddressTampered: it was
    """
    if is_intact(address):
        return
    now = timezone.now()
    with transaction.atomic():
        if DepositAddress.objects.filter(pk=address.pk, tampered_at=None).update(tampered_at=now):
            log_activity(address.exchange_account, "address.tampered", address=address)
            publish(
                address.exchange_account,
                "address.unusual_activity",
                address_id=str(address.pk),
                reason="The stored address is not the one that was stored.",
            )
    raise AddressTampered(
        "The stored address was changed outside of this service. It is not shown.",
        venue=address.exchange_id,
        currency=address.currency,
        network=address.network,
    )


def _list_kept(account: ExchangeAccount, currency: str) -> Any:
    return DepositAddress.objects.filter(exchange_account=account, currency=currency)


def _get_kept(account: ExchangeAccount, one: contract.DepositAddress) -> DepositAddress:
    kept: DepositAddress = (
        _list_kept(account, one.currency)
        .select_related("exchange_account")
        .get(network=one.network, address=one.address, tag=one.tag)
    )
    return kept


def _identify(row: DepositAddress) -> tuple[str, str, str | None]:
    return row.network, row.address, row.tag


def _is_current(one: contract.DepositAddress) -> bool:
    return one.state is AddressState.CURRENT
