"""The store for any database Django speaks to: lock, decide, write with the ORM.

Used as it is on SQLite and MariaDB; `postgres` replaces the two slow halves.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connections
from django.utils import timezone

from dj_wallet.ledger.accounts import system_account
from dj_wallet.ledger.engine import (
    Accepted,
    AccountState,
    Entry,
    KnownEntry,
    Movement,
    Posted,
    Side,
    fingerprint,
    list_system_accounts,
    list_wallet_ids,
    system_key,
)
from dj_wallet.ledger.fields import SQLITE_SIGNIFICANT_DIGITS
from dj_wallet.ledger.models import Account, Asset, EntryMeta, Posting
from dj_wallet.ledger.watch import moving

from .rules import load_rules, save_rules

ACCOUNT_COLUMNS: Final = (
    "pk",
    "asset_id",
    "decimal_places",
    "kind",
    "is_frozen",
    "overdraft_limit",
    "balance",
    "locked_balance",
    "pending_balance",
    "version",
    "has_rules",
)


class GenericStore:
    """Reads and writes the ledger's tables on one database. Needs an open transaction for everything but `post_fast`."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.connection = connections[using]
        self.significant_digits = (
            SQLITE_SIGNIFICANT_DIGITS if self.connection.vendor == "sqlite" else None
        )

    def post_fast(self, entries: Sequence[Entry]) -> list[Posted] | None:
        """Post all the entries if that is certain to be right, else write nothing and return None."""
        return None

    def wait_for_writer(self) -> None:
        """Wait until we may write, where one may at a time (SQLite).

        Two transactions that read before they write cannot wait for each other: a write has to come first.
        """
        if self.connection.vendor == "sqlite":
            Account.objects.using(self.using).filter(pk=0).update(version=0)

    def lock_accounts(self, entries: Sequence[Entry]) -> dict[int | str, AccountState]:
        """Lock the wallets that the entries name, in id order, and return every account there is among them."""
        self.wait_for_writer()
        system_ids = self._find_system_accounts(entries)
        accounts = Account.objects.using(self.using)
        wallets = (
            accounts.filter(pk__in=list_wallet_ids(entries))
            .order_by("pk")
            .values_list(*ACCOUNT_COLUMNS)
        )
        locks = self.connection.features.has_select_for_no_key_update
        states: dict[int | str, AccountState] = {}
        ruled = []
        for row in wallets.select_for_update(no_key=locks):
            states[row[0]] = _read_state(row)
            if row[-1]:
                ruled.append(row[0])
        for account_id, own in load_rules(ruled, entries, self.using).items():
            states[account_id] = states[account_id]._replace(rules=own)
        for row in accounts.filter(pk__in=system_ids).values_list(*ACCOUNT_COLUMNS):
            states[system_ids[row[0]]] = _read_state(row)
        return states

    def _find_system_accounts(self, entries: Sequence[Entry]) -> dict[int, str]:
        wanted = list_system_accounts(entries)
        assets = set(
            Asset.objects.using(self.using)
            .filter(pk__in={asset for _, asset in wanted})
            .values_list("pk", flat=True)
        )
        return {
            system_account(code, asset, using=self.using): system_key(code, asset)
            for code, asset in wanted
            if asset in assets
        }

    def find_entries(self, keys: Iterable[str]) -> dict[str, KnownEntry]:
        """Return the entries that were posted under these idempotency keys."""
        postings = Posting.objects.using(self.using)
        heads = {
            row[0]: row[1:]
            for row in postings.filter(idempotency_key__in=list(keys)).values_list(
                "entry_id", "idempotency_key", "fingerprint"
            )
        }
        balances: dict[int, list[tuple[Decimal | None, Decimal | None]]] = {
            entry_id: [] for entry_id in heads
        }
        rows = postings.of_entries(heads).order_by("pk") if heads else postings.none()
        for entry_id, source, destination in rows.values_list(
            "entry_id", "source_balance_after", "destination_balance_after"
        ):
            balances[entry_id].append((source, destination))
        return {
            str(key): KnownEntry(
                Posted(entry_id, True, tuple(balances[entry_id])), content.hex if content else ""
            )
            for entry_id, (key, content) in heads.items()
        }

    def write(
        self,
        accepted: Sequence[Accepted],
        changed: Mapping[int, AccountState],
        accounts: Mapping[int | str, AccountState],
    ) -> list[Posted] | None:
        """Write accepted entries and the accounts they changed; None if a key was taken meanwhile.

        :raises IntegrityError: a key was taken meanwhile (databases with several writers)
        """
        with moving(changed, self.using):
            self._write_accounts(changed.values())
        last_id = (
            Posting.objects.using(self.using).order_by("-pk").values_list("pk", flat=True).first()
            or 0
        )
        postings: list[Posting] = []
        results = []
        for entry, sides, _ in accepted:
            entry_id = last_id + len(postings) + 1
            postings += _build_postings(entry, sides, accounts, entry_id)
            results.append(
                Posted(
                    entry_id,
                    False,
                    tuple((left.balance_after, right.balance_after) for left, right in sides),
                )
            )
        Posting.objects.using(self.using).bulk_create(postings)
        return results

    def _write_accounts(self, changed: Iterable[AccountState]) -> None:
        for account in changed:
            available, locked, pending = account.balances
            Account.objects.using(self.using).filter(pk=account.id).update(
                balance=available,
                locked_balance=locked,
                pending_balance=pending,
                version=account.version,
            )

    def write_rules(
        self,
        accepted: Sequence[Accepted],
        posted: Sequence[Posted],
        changed: Mapping[int, AccountState],
        accounts: Mapping[int | str, AccountState],
    ) -> None:
        """Write what accepted entries changed of the limits and lots of their wallets."""
        save_rules(accepted, posted, changed, accounts, self.using)

    def write_meta(self, metas: Mapping[int, Mapping[str, object]]) -> None:
        """Keep the free-form data of entries, by entry id."""
        EntryMeta.objects.using(self.using).bulk_create(
            EntryMeta(entry_id=entry_id, data=dict(data)) for entry_id, data in metas.items()
        )


def _read_state(row: tuple[object, ...]) -> AccountState:
    (
        pk,
        asset,
        decimal_places,
        kind,
        is_frozen,
        overdraft_limit,
        available,
        locked,
        pending,
        version,
        _,
    ) = row
    return AccountState(
        id=pk,  # type: ignore[arg-type]
        asset=asset,  # type: ignore[arg-type]
        decimal_places=decimal_places,  # type: ignore[arg-type]
        is_system=kind == Account.Kind.SYSTEM,
        is_frozen=bool(is_frozen),
        overdraft_limit=overdraft_limit,  # type: ignore[arg-type]
        balances=(available, locked, pending),  # type: ignore[arg-type]
        version=version,  # type: ignore[arg-type]
    )


def _build_postings(
    entry: Entry,
    sides: Sequence[tuple[Side, Side]],
    accounts: Mapping[int | str, AccountState],
    entry_id: int,
) -> list[Posting]:
    now = timezone.now()

    def find_id(place: int | str, movement: Movement) -> int:
        return accounts[system_key(place, movement.asset)].id if isinstance(place, str) else place

    key = entry.idempotency_key
    return [
        Posting(
            id=entry_id + position,
            entry_id=entry_id,
            kind=entry.kind,
            source_account_id=find_id(movement.source, movement),
            source_bucket=movement.source_bucket,
            destination_account_id=find_id(movement.destination, movement),
            destination_bucket=movement.destination_bucket,
            amount=movement.amount,
            source_balance_after=left.balance_after,
            source_version=left.version,
            destination_balance_after=right.balance_after,
            destination_version=right.version,
            reference_type=entry.reference_type,
            reference_id=entry.reference_id,
            idempotency_key=key if position == 0 else None,
            fingerprint=UUID(hex=fingerprint(entry)) if key is not None and position == 0 else None,
            event_at=entry.event_at,
            created_at=now,
        )
        for position, (movement, (left, right)) in enumerate(
            zip(entry.movements, sides, strict=True)
        )
    ]
