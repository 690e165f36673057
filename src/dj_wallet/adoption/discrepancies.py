"""What in a database of release 0.1.0 cannot be right. Reads only, and only what is not adopted yet."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.models import CharField, Exists, F, Model, OuterRef, Q
from django.db.models.functions import Cast

from dj_wallet.ledger.engine import count_significant_digits, excess_digits
from dj_wallet.ledger.fields import SQLITE_SIGNIFICANT_DIGITS
from dj_wallet.ledger.money import EXACT, ZERO, trim
from dj_wallet.models import Transaction, Transfer, Wallet

from .histories import MOVED, PAGE, PLACES, History, find_posted_too_early, list_unlinked

# Release 0.1.0 computed in Python's default context, and SQLite keeps 8-byte floats.
DIGITS_KEPT: Final = 28
TRANSFER_ACTIONS: Final = ("transfer_send", "transfer_receive", "refund_withdraw", "refund_deposit")


class Discrepancy(NamedTuple):
    """Something that cannot be right: what (`code`), where, how much, and in words.

    `amount` is what exists too much (positive) or too little (negative); None where that cannot be said.
    """

    code: str
    record: str
    amount: Decimal | None
    asset: str
    text: str

    def __str__(self) -> str:
        amount = "" if self.amount is None else f" ({self.amount:+f} {self.asset})"
        return f"{self.code}: {self.record}{amount}: {self.text}"


def check_history(history: History, vendor: str) -> Iterator[Discrepancy]:
    """Does the balance of a wallet equal the sum of its records?"""
    if history.is_too_late or history.difference == 0:
        return
    kept = SQLITE_SIGNIFICANT_DIGITS if vendor == "sqlite" else DIGITS_KEPT
    explained = EXACT.subtract(history.deposits, history.withdrawals)
    figures = (history.deposits, history.withdrawals, explained, history.carried)
    is_lost = any(
        count_significant_digits(figure) > kept or excess_digits(figure, PLACES)
        for figure in figures
    )
    yield Discrepancy(
        "lost_digits" if is_lost else "balance_differs",
        f"wallet {history.wallet_id}",
        trim(history.difference),
        history.asset,
        f"the balance is {history.carried:f}, its {history.records} records say {trim(explained):f}",
    )


def check_holders(ids: Sequence[int], alias: str) -> Iterator[Discrepancy]:
    """Does the holder of each wallet still exist?"""
    rows = list(
        Wallet.objects.using(alias)
        .filter(pk__in=ids)
        .order_by("pk")
        .values_list("pk", "holder_type_id", "holder_id", "balance", "asset_id")
    )
    there = find_existing({(type_id, key) for _, type_id, key, _, _ in rows}, alias)
    for pk, type_id, key, balance, asset in rows:
        if (type_id, key) not in there:
            yield Discrepancy(
                "orphaned_wallet",
                f"wallet {pk}",
                None,
                asset,
                f"its holder ({name_type(type_id, alias)} {key}) is gone; it holds {balance:f} {asset}",
            )


def check_records(alias: str) -> Iterator[Discrepancy]:
    """What is wrong with the records themselves, whatever the balances say."""
    yield from _check_statuses(alias)
    yield from _check_lost_transfers(alias)
    yield from _check_payables(alias)
    yield from _check_transfers(alias)
    yield from _check_zeros(alias)


def check_early_postings(alias: str) -> Iterator[Discrepancy]:
    """Which wallets moved money before they were adopted, so that no opening entry can come first any more?"""
    for pk, amount in sorted(find_posted_too_early(alias).items()):
        yield Discrepancy(
            "posted_before_adoption",
            f"wallet {pk}",
            None,
            "",
            f"money moved on top of its old balance of {amount:f}; it cannot be adopted any more",
        )


def _check_zeros(alias: str) -> Iterator[Discrepancy]:
    """Release 0.1.0 recorded what was too little for it to count as zero. They moved nothing, and stay."""
    zeros = Transaction.objects.using(alias).filter(entry_id__isnull=True, amount=0)
    columns = ("pk", "type", "created_at", "wallet__asset_id")
    for pk, type_, created_at, asset in zeros.order_by("pk").values_list(*columns).iterator():
        yield Discrepancy(
            "zero_amount", f"transaction {pk}", None, asset, f"a {type_} of zero, of {created_at}"
        )


def _check_statuses(alias: str) -> Iterator[Discrepancy]:
    old = Transaction.objects.using(alias).filter(entry_id__isnull=True)
    has_moved = Q(status__in=MOVED)
    wrong = old.filter((has_moved & Q(confirmed=False)) | (~has_moved & Q(confirmed=True)))
    columns = ("pk", "status", "confirmed", "wallet__asset_id")
    for pk, status, confirmed, asset in wrong.order_by("pk").values_list(*columns).iterator():
        word = "confirmed" if confirmed else "not confirmed"
        yield Discrepancy(
            "status_disagrees",
            f"transaction {pk}",
            None,
            asset,
            f"its status is {status}, but it is {word}",
        )


def _check_lost_transfers(alias: str) -> Iterator[Discrepancy]:
    """One side of a transfer whose other side went with its wallet: release 0.1.0 deleted in cascades."""
    sides = list_unlinked(alias).filter(meta__action__in=TRANSFER_ACTIONS)
    for side in ("withdraw", "deposit"):
        sides = sides.filter(~Exists(Transfer.objects.filter(**{f"{side}_id": OuterRef("pk")})))
    columns = ("pk", "type", "amount", "wallet__asset_id")
    for pk, type_, amount, asset in sides.order_by("pk").values_list(*columns).iterator():
        is_deposit = type_ == Transaction.TYPE_DEPOSIT
        yield Discrepancy(
            "orphaned_transaction",
            f"transaction {pk}",
            amount if is_deposit else EXACT.minus(amount),
            asset,
            f"the {type_} of a transfer that is gone, with the wallet on its other side",
        )


def _check_payables(alias: str) -> Iterator[Discrepancy]:
    """Release 0.1.0 writes the wallet as the payable of each record; other writers may name what is gone."""
    wallet_type = ContentType.objects.db_manager(alias).get_for_model(Wallet)
    of_its_wallet = Q(payable_type=wallet_type, payable_id=Cast(F("wallet_id"), CharField()))
    others = list_unlinked(alias).exclude(of_its_wallet).order_by("pk")
    columns = ("pk", "payable_type_id", "payable_id", "wallet__asset_id")
    page: list[Any] = []
    for row in others.values_list(*columns).iterator():
        page.append(row)
        if len(page) == PAGE:
            yield from _check_payable_page(page, alias)
            page = []
    yield from _check_payable_page(page, alias)


def _check_payable_page(page: Sequence[Any], alias: str) -> Iterator[Discrepancy]:
    there = find_existing({(type_id, key) for _, type_id, key, _ in page}, alias)
    for pk, type_id, key, asset in page:
        if (type_id, key) not in there:
            yield Discrepancy(
                "orphaned_transaction",
                f"transaction {pk}",
                None,
                asset,
                f"its payable ({name_type(type_id, alias)} {key}) is gone",
            )


SIDE_COLUMNS: Final = ("amount", "status", "uuid", "wallet_id", "wallet__asset_id")


def _check_transfers(alias: str) -> Iterator[Discrepancy]:
    is_exchange = Q(status=Transfer.STATUS_EXCHANGE)
    suspects = Transfer.objects.using(alias).filter(
        (~is_exchange & ~Q(withdraw__wallet__asset=F("deposit__wallet__asset")))
        | (~is_exchange & ~Q(withdraw__amount=F("deposit__amount")))
        | (is_exchange & Q(withdraw__wallet=F("deposit__wallet")))
        | Q(withdraw__status=Transaction.STATUS_REVERSED)
        | Q(deposit__status=Transaction.STATUS_REVERSED),
        entry_id__isnull=True,
    )
    reversals: dict[str, tuple[str, str]] | None = None
    columns = [f"{side}__{column}" for side in ("withdraw", "deposit") for column in SIDE_COLUMNS]
    rows = suspects.order_by("pk").values_list(
        "pk", "status", "fee", "withdraw__meta__action", *columns
    )
    for pk, status, fee, action, *sides in rows.iterator():
        withdraw, deposit = Side(*sides[:5]), Side(*sides[5:])
        if reversals is None and Transaction.STATUS_REVERSED in {withdraw.status, deposit.status}:
            reversals = read_reversals(alias)
        was_refunded = status == Transfer.STATUS_REFUND and action != "refund_withdraw"
        record = f"transfer {pk}"
        yield from _check_sides(record, status, fee, withdraw, deposit)
        yield from _check_reversals(record, was_refunded, withdraw, deposit, reversals or {})


class Side(NamedTuple):
    """One transaction of a transfer."""

    amount: Decimal
    status: str
    uuid: Any
    wallet_id: int
    asset: str


def _check_sides(
    record: str, status: str, fee: Decimal, withdraw: Side, deposit: Side
) -> Iterator[Discrepancy]:
    created = EXACT.subtract(deposit.amount, withdraw.amount)
    if status == Transfer.STATUS_EXCHANGE:
        if withdraw.wallet_id == deposit.wallet_id and created:
            yield Discrepancy(
                "self_exchange",
                record,
                created,
                deposit.asset,
                f"wallet {deposit.wallet_id} was exchanged with itself: {withdraw.amount:f} became {deposit.amount:f}",
            )
    elif withdraw.asset != deposit.asset:
        yield Discrepancy(
            "mixed_currencies",
            record,
            None,
            "",
            f"{withdraw.amount:f} {withdraw.asset} went out and {deposit.amount:f} {deposit.asset} came in",
        )
    elif EXACT.add(created, fee):
        yield Discrepancy(
            "unequal_transfer",
            record,
            EXACT.add(created, fee),
            deposit.asset,
            f"{withdraw.amount:f} went out, {deposit.amount:f} came in, the fee was {fee:f}",
        )


def _check_reversals(
    record: str,
    was_refunded: bool,
    withdraw: Side,
    deposit: Side,
    reversals: dict[str, tuple[str, str]],
) -> Iterator[Discrepancy]:
    is_out_reversed = is_reversed(str(withdraw.uuid), withdraw.status, reversals)
    is_in_reversed = is_reversed(str(deposit.uuid), deposit.status, reversals)
    created = EXACT.subtract(
        withdraw.amount if is_out_reversed else ZERO, deposit.amount if is_in_reversed else ZERO
    )
    sides = " and ".join(
        name
        for name, there in (("withdrawal", is_out_reversed), ("deposit", is_in_reversed))
        if there
    )
    if was_refunded and sides:
        yield Discrepancy(
            "refunded_and_reversed",
            record,
            created,
            withdraw.asset,
            f"it was refunded, and its {sides} reversed as well",
        )
    elif is_out_reversed != is_in_reversed:
        yield Discrepancy(
            "one_legged_reversal", record, created, withdraw.asset, f"only its {sides} was reversed"
        )


def read_reversals(alias: str) -> dict[str, tuple[str, str]]:
    """Return, by the uuid of what was reversed, the uuid and status of the transaction that did it."""
    rows = (
        Transaction.objects.using(alias)
        .filter(meta__has_key="reversal_of")
        .values_list("meta__reversal_of", "uuid", "status")
    )
    return {str(original): (str(uuid), status) for original, uuid, status in rows.iterator()}


def is_reversed(uuid: str, status: str, reversals: dict[str, tuple[str, str]]) -> bool:
    """Tell whether the money of a transaction went back and stayed there: a reversal may itself be reversed."""
    went_back = False
    seen = set()
    while status == Transaction.STATUS_REVERSED and uuid not in seen:
        seen.add(uuid)
        went_back = not went_back
        uuid, status = reversals.get(uuid, ("", ""))
    return went_back


def find_existing(keys: Iterable[tuple[int, str]], alias: str) -> set[tuple[int, str]]:
    """Return those (content type, primary key as text) whose object exists."""
    by_type: dict[int, list[str]] = {}
    for type_id, key in keys:
        by_type.setdefault(type_id, []).append(key)
    found = set()
    for type_id, wanted in by_type.items():
        model = find_model(type_id, alias)
        if model is None:
            continue
        pks = dict(_read_keys(model, wanted))
        there = (
            model._base_manager.using(alias).filter(pk__in=list(pks)).values_list("pk", flat=True)
        )
        found |= {(type_id, pks[pk]) for pk in there}
    return found


def _read_keys(model: type[Model], keys: Iterable[str]) -> Iterator[tuple[Any, str]]:
    for key in keys:
        try:
            yield model._meta.pk.to_python(key), key
        except ValidationError:
            continue


def find_model(type_id: int, alias: str) -> type[Model] | None:
    """Return the model of a content type, or None if there is none any more."""
    types = ContentType.objects.db_manager(alias)
    try:
        return types.get_for_id(type_id).model_class()
    except ContentType.DoesNotExist:
        return None


def name_type(type_id: int, alias: str) -> str:
    """Return what to call a content type."""
    try:
        return ContentType.objects.db_manager(alias).get_for_id(type_id).model
    except ContentType.DoesNotExist:
        return f"content type {type_id}"
