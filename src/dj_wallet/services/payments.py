"""Many payments in one call: any buyers, any products; each is paid, refused or replayed on its own.

Products that only name a price are paid together, at the speed of batches. One that has a stock or a rule of its own
(`take_stock` or `can_buy`) is asked after the payments before it, so those payments are made one after the other.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from dj_wallet.abstract_models import AbstractWallet
from dj_wallet.cart import Cart
from dj_wallet.ledger.engine import Posted
from dj_wallet.ledger.errors import WalletException
from dj_wallet.ledger.post import post
from dj_wallet.ledger.records import insert_in_order
from dj_wallet.models import Purchase
from dj_wallet.utils import get_purchase_service, get_transfer_service, get_wallet_service

from .bulk import Result, Status, run_each
from .holding import find_wallets
from .movements import (
    find_alias_of,
    get_wallet,
    is_anybody_asked,
    is_anybody_told,
    is_customised,
    is_overridden,
    list_pending_keys,
    lock_wallets,
    refuse_all,
    refuse_other_use,
    run_undoing,
    update_balances,
)
from .purchase import (
    RULES,
    Draft,
    Order,
    find_receiver,
    fingerprint,
    list_sales,
    plan_purchase,
    price_order,
)


class PaymentItem(NamedTuple):
    """A payment that is asked for.

    :param wallet: pays; by default the customer's default wallet
    :param receiver: the wallet, or the holder whose default wallet, gets the money; by default the product says
    """

    customer: Any
    product: Any
    quantity: int = 1
    wallet: AbstractWallet | None = None
    receiver: Any = None
    meta: Mapping[str, Any] | None = None
    idempotency_key: str | None = None


def pay_many(items: Sequence[PaymentItem], *, is_atomic: bool = False) -> list[Result]:
    """Buy each item for its customer and say what became of it, in order; the record of a result is its purchase.

    Idempotent for items with a key. Joins the caller's transaction; without one it commits once. Prices, discounts
    and fees are asked for before the first payment is made.

    :param is_atomic: all or nothing; the first refusal is raised, and its `position` says whose it was
    """
    if not items:
        return []
    service = get_purchase_service()
    payers = find_wallets([item.wallet or item.customer for item in items])
    using = find_alias_of(payers[0])
    if not _can_be_paid_together(items, service):
        calls = [
            partial(_pay_alone, service, item, payer)
            for item, payer in zip(items, payers, strict=True)
        ]
        return run_each(calls, using, service, is_atomic)

    def pay() -> list[Result]:
        return _pay_together(items, payers, using, is_atomic)

    return run_undoing(pay, sender=service, using=using, always=is_atomic)


def _can_be_paid_together(items: Sequence[PaymentItem], service: Any) -> bool:
    """Tell whether nobody wants to see, or to decide on, each payment before the next is made."""
    keys = [item.idempotency_key for item in items if item.idempotency_key is not None]
    return (
        len(set(keys)) == len(keys)
        and not any(is_overridden(item.product, *RULES) for item in items)
        and not is_anybody_asked(service)
        and not is_anybody_told(service)
        and not is_customised(service, "pay", "pay_cart")
        and not is_customised(get_transfer_service(), "transfer")
        and not is_customised(get_wallet_service(), "deposit", "withdraw")
    )


def _pay_alone(service: Any, item: PaymentItem, wallet: AbstractWallet) -> Any:
    """Pay as the service does; only what was given is passed on, since one written for release 0.1.0 knows no more."""
    given = {
        "wallet": None if item.wallet is None else wallet,
        "receiver": item.receiver,
        "meta": item.meta,
        "idempotency_key": item.idempotency_key,
    }
    options = {name: value for name, value in given.items() if value is not None}
    record = service.pay(item.customer, item.product, item.quantity, **options)
    return getattr(record, "purchase", record)


def _make_cart(item: PaymentItem) -> Cart:
    return Cart(meta=item.meta or {}).with_item(item.product, item.quantity, receiver=item.receiver)


# Together


def _pay_together(
    items: Sequence[PaymentItem], payers: Sequence[AbstractWallet], using: str, is_atomic: bool
) -> list[Result]:
    results: dict[int, Result] = {}
    orders: dict[int, Order] = {}
    for at, (item, payer) in enumerate(zip(items, payers, strict=True)):
        try:
            cart = _make_cart(item)
        except WalletException as refusal:
            results[at] = Result(Status.REFUSED, error=refusal)
        else:
            key = item.idempotency_key
            orders[at] = Order(item.customer, payer, cart, idempotency_key=key)
    receivers = _find_receivers(orders, payers)
    wallets = [*payers, *(wallet for wallet in receivers.values() if wallet is not None)]
    lock_wallets(wallets, using)
    results |= _find_repeated(orders, using)
    written: dict[int, Draft] = {}
    for at, order in orders.items():
        if at in results:
            continue
        try:
            prices = price_order(order)
            written[at] = plan_purchase(order, prices, list_sales(order, prices, [receivers[at]]))
        except WalletException as refusal:
            results[at] = Result(Status.REFUSED, error=refusal)
    refused, places = _post(written, using)
    results |= refused
    if is_atomic:
        refuse_all(
            {
                at: result.error
                for at, result in results.items()
                if isinstance(result.error, WalletException)
            }
        )
    done = {at: one for at, one in written.items() if at not in results}
    for at, place in places.items():
        _take_place(done[at], place)
    _insert(list(done.values()), using)
    results |= {at: Result(Status.OK, one.purchase) for at, one in done.items()}
    return [results[at] for at in range(len(items))]


def _find_receivers(
    orders: Mapping[int, Order], payers: Sequence[AbstractWallet]
) -> dict[int, Any]:
    """Return the wallet that gets the money of each order, None for our own sales. One object for each wallet."""
    given = {at: find_receiver(order.cart.items[0]) for at, order in orders.items()}
    named = {at: one for at, one in given.items() if one is not None}
    found = find_wallets([*payers, *named.values()])[len(payers) :]
    return given | dict(zip(named, found, strict=True))


def _find_repeated(orders: Mapping[int, Order], using: str) -> dict[int, Result]:
    """Return the results of orders whose key was used before: the first purchase, or a conflict."""
    keys: dict[str | None, int] = {
        order.idempotency_key: at for at, order in orders.items() if order.idempotency_key
    }
    if not keys:
        return {}
    results = {}
    for purchase in Purchase.objects.using(using).filter(idempotency_key__in=list(keys)):
        at = keys[purchase.idempotency_key]
        if purchase.fingerprint == fingerprint(orders[at]):
            purchase.replayed = True
            results[at] = Result(Status.REPLAYED, purchase)
        else:
            error = refuse_other_use(purchase.idempotency_key)
            results[at] = Result(Status.REFUSED, error=error)
    return results


def _post(written: Mapping[int, Draft], using: str) -> tuple[dict[int, Result], dict[int, Posted]]:
    """Move the money of all; return which were refused, and where the others stand."""
    entries = {at: one.entry for at, one in written.items() if one.entry is not None}
    taken = list_pending_keys(list(entries.values()), using)
    free = {at: entry for at, entry in entries.items() if entry.idempotency_key not in taken}
    outcomes = dict(zip(free, post(list(free.values()), using=using), strict=True))
    refused: dict[int, Result] = {}
    places: dict[int, Posted] = {}
    for at, entry in entries.items():
        outcome = outcomes.get(at)
        if isinstance(outcome, WalletException):
            refused[at] = Result(Status.REFUSED, error=outcome)
        elif (
            outcome is None or outcome.replayed
        ):  # the key of a record or an entry that is no purchase
            error = refuse_other_use(entry.idempotency_key)
            refused[at] = Result(Status.REFUSED, error=error)
        else:
            places[at] = outcome
    return refused, places


def _take_place(written: Draft, posted: Posted) -> None:
    """Let the records of a purchase say where its entry stands, and its wallets what they hold now."""
    records: list[Any] = [written.purchase, *written.transactions, *written.transfers]
    for record in records:
        record.entry_id = posted.entry_id
    if written.entry is not None:
        for wallet in {id(one): one for one in map(get_wallet, written.transactions)}.values():
            update_balances(wallet, written.entry, posted)


def _insert(written: Sequence[Draft], using: str) -> None:
    insert_in_order([one.purchase for one in written], using)
    insert_in_order([record for one in written for record in one.transactions], using)
    insert_in_order([record for one in written for record in one.transfers], using)
    insert_in_order([line for one in written for line in one.lines], using)
    for one in written:
        one.purchase.bought = one.lines
