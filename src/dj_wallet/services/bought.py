"""What a purchase is made of: its sales before it is written, and its lines and records after."""

from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple, overload
from uuid import UUID

from django.db import models

from dj_wallet.abstract_models import AbstractTransfer
from dj_wallet.cart import Item
from dj_wallet.holders import find_type
from dj_wallet.ledger.ids import make_uuid_numbers
from dj_wallet.ledger.records import is_plain_save_needed
from dj_wallet.models import Purchase, PurchaseLine, Transaction, Transfer, Wallet
from dj_wallet.pricing import Line
from dj_wallet.utils import get_transfer_service, get_wallet_service

from .at_once import RECEIVED, SENT, Written, is_plain, show_record
from .movements import is_customised


class Sale(NamedTuple):
    """A line that is to be bought, what its records say, and who gets the money: a wallet, or None for our own sales.

    :param product_key: the content type and the key of the product, as it is stored now; Nones if it is not
    """

    item: Item
    line: Line
    receiver: Any
    meta: dict[str, Any]
    product_key: tuple[int | None, Any]


class Places(NamedTuple):
    """Where the records of a sale stand among those of their kind in its purchase, from 1; None for none.

    The first three are transactions: what the buyer pays, what the receiver gets, and the fee.
    """

    payment: int | None
    deposit: int | None
    fee_payment: int | None
    transfer: int | None


class Side(NamedTuple):
    """What a transaction of a purchase says."""

    wallet: Any
    type: str
    amount: Decimal
    meta: dict[str, Any]


class Keys(NamedTuple):
    """The keys of what was written for a purchase, of each kind in the order of their places."""

    transactions: Sequence[int]
    transfers: Sequence[int]
    lines: Sequence[int]


class Numbers(NamedTuple):
    """The UUIDs of the records of a purchase, as numbers, in the order of their places."""

    transactions: Sequence[int]
    transfers: Sequence[int]


class Lines(Sequence[PurchaseLine]):
    """The lines of a purchase that was written, with their records; made when somebody looks at one of them."""

    def __init__(
        self,
        purchase: Purchase,
        payer: Wallet,
        sales: Sequence[Sale],
        keys: Keys,
        numbers: Numbers,
        shared: Written,
    ) -> None:
        self._purchase = purchase
        self._payer = payer
        self._sales = sales
        self._keys = keys
        self._numbers = numbers
        self.shared = shared

    def __len__(self) -> int:
        return len(self._sales)

    @overload
    def __getitem__(self, at: int) -> PurchaseLine: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[PurchaseLine]: ...
    def __getitem__(self, at: Any) -> Any:
        return self._lines[at]

    @cached_property
    def _lines(self) -> list[PurchaseLine]:
        transactions = [
            self.shared.show_transaction(
                key,
                UUID(int=number),
                side.type,
                side.wallet.pk,
                side.amount,
                side.meta,
                side.wallet,
            )
            for key, number, side in zip(
                self._keys.transactions,
                self._numbers.transactions,
                list_sides(self._payer, self._sales),
                strict=True,
            )
        ]
        return [
            self._show_line(key, sale, places, transactions)
            for key, sale, places in zip(
                self._keys.lines, self._sales, list_places(self._sales), strict=True
            )
        ]

    def _show_line(
        self, key: int, sale: Sale, places: Places, transactions: Sequence[Transaction]
    ) -> PurchaseLine:
        payment, deposit, fee_payment = (
            None if at is None else transactions[at - 1] for at in places[:3]
        )
        transfer = None
        if payment and deposit and places.transfer:
            transfer = self._show_transfer(sale.line, places.transfer - 1, payment, deposit)
        values, related = describe_line(sale, self._purchase, payment, fee_payment, transfer)
        return show_record(PurchaseLine, {**values, "id": key}, related, self.shared.using)

    def _show_transfer(
        self, line: Line, at: int, payment: Transaction, deposit: Transaction
    ) -> Transfer:
        sides = payment, deposit
        transfer = self.shared.show_transfer(
            [*(one.pk for one in sides), self._keys.transfers[at]],
            [*(one.uuid.int for one in sides), self._numbers.transfers[at]],
            (payment.__dict__["wallet_id"], deposit.__dict__["wallet_id"]),
            line.net,
            [],
            get_status(self._purchase),
            fee=line.fee,
            discount=line.discount,
        )
        transfer._state.fields_cache.update(withdraw=payment, deposit=deposit)
        return transfer


def find_product_key(product: Any) -> tuple[int | None, Any]:
    """Return the content type and the key of a product, Nones if it is not stored."""
    if not isinstance(product, models.Model) or product.pk is None:
        return None, None
    return find_type(product.__class__, product._state.db), product.pk


def are_purchases_plain(sender: type, using: str) -> bool:
    """Tell whether PostgreSQL may write a purchase: nobody wants to see, or to decide on, what is written."""
    return (
        is_plain(sender, using)
        and not is_plain_save_needed(Purchase)
        and not is_plain_save_needed(PurchaseLine)
        and not is_customised(get_transfer_service(), "transfer")
        and not is_customised(get_wallet_service(), "deposit", "withdraw")
    )


def mark_bought(purchase: Purchase, key: int, lines: Lines) -> None:
    """Let the purchase be what the database has."""
    shared = lines.shared
    purchase.__dict__.update(id=key, entry_id=shared.entry_id, created_at=shared.now, bought=lines)
    purchase._state.adding, purchase._state.db = False, shared.using


def describe_line(
    sale: Sale,
    purchase: Purchase,
    payment: Transaction | None,
    fee_payment: Transaction | None,
    transfer: Transfer | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of a line and what it is related to; the keys of what is not written yet are None."""
    type_, key = sale.product_key
    related: dict[str, Any] = {
        "purchase": purchase,
        "payment": payment or fee_payment,
        "fee_payment": fee_payment,
        "transfer": transfer,
    }
    values = {
        **sale.line._asdict(),
        "product_type_id": type_,
        "product_id": key,
        **{f"{name}_id": _get_key(one) for name, one in related.items()},
    }
    if type_ is not None:
        related["product"] = sale.item.product
    return values, related


def _get_key(record: models.Model | None) -> Any:
    return None if record is None or record._state.adding else record.pk


def make_numbers(sales: Sequence[Sale]) -> Numbers:
    """Return new UUIDs for all records of the sales."""
    places = list_places(sales)
    transfers = sum(one.transfer is not None for one in places)
    transactions = sum(at is not None for one in places for at in one[:3])
    numbers = make_uuid_numbers(transactions + transfers)
    return Numbers(numbers[:transactions], numbers[transactions:])


def get_status(purchase: Purchase) -> str:
    """Return what the transfers of a purchase are."""
    is_gift = purchase.__dict__["recipient_type_id"] is not None
    return AbstractTransfer.STATUS_GIFT if is_gift else AbstractTransfer.STATUS_PAID


def list_places(sales: Sequence[Sale]) -> list[Places]:
    """Return where the records of each sale stand."""
    transactions, transfers = count(1), count(1)
    places = []
    for _, line, receiver, *_ in sales:
        is_passed_on = bool(line.net) and receiver is not None
        places.append(
            Places(
                next(transactions) if line.net else None,
                next(transactions) if is_passed_on else None,
                next(transactions) if line.fee else None,
                next(transfers) if is_passed_on else None,
            )
        )
    return places


def list_sides(payer: Any, sales: Sequence[Sale]) -> list[Side]:
    """Return the transactions of the sales, in the order of their places."""
    sides = []
    for _, line, receiver, meta, _ in sales:
        if line.net and receiver is not None:
            sides.append(Side(payer, "withdraw", line.net, {**meta, **SENT}))
            sides.append(Side(receiver, "deposit", line.net, {**meta, **RECEIVED}))
        elif line.net:
            sides.append(Side(payer, "withdraw", line.net, {**meta}))
        if line.fee:
            sides.append(Side(payer, "withdraw", line.fee, {**meta, "action": "fee"}))
    return sides
