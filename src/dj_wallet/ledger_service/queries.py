"""Reads of the ledger service; never write."""

from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID

from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet

from dj_wallet.ledger.models import Posting
from dj_wallet.lookups import find_by
from dj_wallet.models import Wallet

from .models import Owner


def list_accounts(*, external_owner_id: str | None = None) -> QuerySet[Wallet]:
    """Return the accounts of all owners, or of one."""
    accounts = Wallet.objects.filter(holder_type=ContentType.objects.get_for_model(Owner))
    if external_owner_id is None:
        return accounts
    owner = Owner.objects.filter(external_id=external_owner_id).first()
    return accounts.none() if owner is None else accounts.filter(holder_id=owner.pk)


def find_accounts(uuids: Iterable[UUID]) -> dict[UUID, Wallet]:
    """Return those of the accounts that exist. One query."""
    owner_type = ContentType.objects.get_for_model(Owner).pk
    found = find_by(Wallet, "uuid", list(set(uuids)))
    return {wallet.uuid: wallet for wallet in found if wallet.holder_type_id == owner_type}


def list_owner_ids(accounts: Iterable[Wallet]) -> dict[int, str]:
    """Return by which id the owner of each account (by its primary key) is known. One query."""
    held = {account.pk: account.holder_id for account in accounts}
    owners = Owner.objects.in_bulk(set(held.values()))
    return {pk: owners[holder_id].external_id for pk, holder_id in held.items()}


def list_balances_after(entry_id: int | None, accounts: Iterable[Wallet]) -> list[Decimal]:
    """Return what each of the accounts had right after the entry of a completed transaction. One query."""
    rows = Posting.objects.of_entries([entry_id] if entry_id else []).order_by("id")
    sides = [
        side
        for row in rows
        for side in (
            (row.source_account_id, row.source_balance_after),
            (row.destination_account_id, row.destination_balance_after),
        )
    ]
    after = {account_id: balance for account_id, balance in sides if balance is not None}
    return [after[account.pk] for account in accounts]
