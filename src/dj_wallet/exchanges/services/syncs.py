"""Synchronizations: the row is the job, Celery only rings. Steps of one are separate transactions.

1. request: a row `queued`, unless one of the account is open already;
2. claim: the most urgent row, with a lease and a new token;
3. the exchange is asked, in no transaction; each currency's outcome is stored in one of its own;
4. the end, written only by whom holds the token.

A worker that dies leaves a lapsed lease; the row is queued again, and nothing is stored twice.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from dj_wallet.exchanges import doorbell, runtime
from dj_wallet.exchanges.errors import AccountInactive, AddressNotConfirmed, VenueError
from dj_wallet.exchanges.journal import describe_sync, publish
from dj_wallet.exchanges.metrics import count_sync
from dj_wallet.exchanges.models import AddressSyncLog, DepositAddress, ExchangeAccount
from dj_wallet.exchanges.runtime import Fetched
from dj_wallet.exchanges.venues.contract import Addresses
from dj_wallet.exchanges.venues.errors import (
    AddressNotAvailable,
    CurrencyNotSupported,
    DepositsDisabled,
    NetworkNotSupported,
    VenueTimeout,
)
from dj_wallet.exchanges.venues.networks import read_currency

from .accounts import get_usable, note_failure
from .addresses import Changes, differs, store_answer
from .supported import record_networks, record_reachability

logger = logging.getLogger(__name__)

Status, Kind = AddressSyncLog.Status, AddressSyncLog.Kind
LEASE_SLACK: Final = timedelta(seconds=30)
MAX_TRIES: Final = 3
# Synchronizations that fail in a row before their owner is told.
FAILURES_TO_TELL: Final = 3
# A request that times out so shortly before the budget's end was cut off by it.
CUT_OFF_SECONDS: Final = 0.5
# The larger is served first.
BACKGROUND, ASKED, FORCED = 0, 5, 9
# What is no failure where nobody asked for the currency by its name.
NOTHING_THERE: Final = (
    AddressNotAvailable, CurrencyNotSupported, DepositsDisabled, NetworkNotSupported,
)  # fmt: skip


def request_sync(
    account: ExchangeAccount,
    *,
    currencies: Sequence[str] = (),
    kind: str | None = None,
    priority: int = ASKED,
) -> tuple[AddressSyncLog, bool]:
    """Queue a synchronization; return it, or the one of the account that is open already, and whether it is new.

    :raises AccountInactive: the account is switched off
    :raises CurrencyNotSupported: no currency is written like that
    """
    get_usable(account)
    chosen = list(dict.fromkeys(read_currency(code) for code in currencies))
    log = AddressSyncLog(
        exchange_account=account,
        user_id=account.user_id,
        sync_type=kind or _name_kind(chosen),
        currencies=chosen,
        currencies_total=len(chosen),
        priority=priority,
    )
    try:
        with transaction.atomic():
            log.save(force_insert=True)
            transaction.on_commit(doorbell.ring, robust=True)
    except IntegrityError:
        return _join(account, log), False
    return log, True


def request_syncs(
    accounts: Sequence[ExchangeAccount],
    *,
    currencies: Sequence[str] = (),
    priority: int = ASKED,
) -> tuple[list[AddressSyncLog], list[ExchangeAccount]]:
    """Queue a synchronization of each account; return them, and the accounts of many that are switched off.

    :raises AccountInactive: there is one account, and it is
    :raises CurrencyNotSupported: no currency is written like that
    """
    logs, skipped = [], []
    for account in accounts:
        try:
            logs.append(request_sync(account, currencies=currencies, priority=priority)[0])
        except AccountInactive:
            if len(accounts) == 1:
                raise
            skipped.append(account)
    return logs, skipped


def fetch_later(account: ExchangeAccount, currency: str, error: VenueTimeout) -> AddressSyncLog:
    """Have a worker ask for the addresses of a currency for which the exchange took too long; return the synchronization.

    :raises VenueTimeout: the error again, where one is open that looks for other currencies
    """
    log, is_new = request_sync(account, currencies=[currency])
    if is_new or log.sync_type == Kind.FULL or read_currency(currency) in log.currencies:
        return log
    raise error


def _join(account: ExchangeAccount, wanted: AddressSyncLog) -> AddressSyncLog:
    """Return the open synchronization; it becomes as urgent as the one that it stands in for."""
    is_open = AddressSyncLog.objects.open().filter(exchange_account=account)
    is_open.filter(priority__lt=wanted.priority).update(priority=wanted.priority)
    return is_open.first() or AddressSyncLog.objects.filter(exchange_account=account).latest(
        "created_at"
    )


def run_next_sync() -> AddressSyncLog | None:
    """Claim the most urgent synchronization and run it to its end or its budget's; return it, or None if none waits.

    Must not run inside a transaction.
    """
    log = _claim()
    if log is not None:
        _Run(log).run()
    return log


def recover_lapsed_syncs() -> None:
    """Queue again what dead workers left; give up what killed several."""
    lapsed = AddressSyncLog.objects.lapsed()
    lapsed.filter(token__lt=MAX_TRIES).update(status=Status.QUEUED, lease_until=None)
    for log in lapsed.select_related("exchange_account"):
        _end(log, Status.FAILED, {"code": "WORKER_LOST", "message": "The worker ended early."})


def _claim() -> AddressSyncLog | None:
    """Take the most urgent that waits, unless as many run as may: the workers have payouts to make, too."""
    running = AddressSyncLog.objects.filter(status=Status.RUNNING, lease_until__gte=Now())
    if running.count() >= settings.EXCHANGES_SYNCS_AT_ONCE:
        return None
    lease = timedelta(seconds=settings.EXCHANGES_SYNC_BUDGET_SECONDS) + LEASE_SLACK
    with transaction.atomic():
        log = (
            AddressSyncLog.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("exchange_account")
            .filter(status=Status.QUEUED)
            .order_by("-priority", "created_at")
            .first()
        )
        if log is None:
            return None
        AddressSyncLog.objects.filter(pk=log.pk).update(
            status=Status.RUNNING,
            token=F("token") + 1,
            lease_until=Now() + lease,
            started_at=Now(),
        )
        ExchangeAccount.objects.filter(pk=log.exchange_account_id).update(
            sync_status=ExchangeAccount.Status.RUNNING
        )
        log.refresh_from_db()
    return log


@dataclass
class _Run:
    """One claimed synchronization, while it runs."""

    log: AddressSyncLog
    changes: Changes = field(default_factory=Changes)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_error: VenueError | None = None
    answered: bool = False
    ends: float = 0.0

    def run(self) -> None:
        begin, account = monotonic(), self.log.exchange_account
        self.ends = begin + settings.EXCHANGES_SYNC_BUDGET_SECONDS
        chosen: list[str] = []
        try:
            usable = get_usable(account)
            chosen = self._choose(usable)
            self._set(currencies_total=len(chosen), currencies=chosen)
            for fetched in runtime.fetch_many(
                usable, chosen, budget_seconds=max(1.0, self.ends - monotonic())
            ):
                if not self._take(fetched, usable):
                    return
        except VenueError as error:
            self.last_error = error
        self._finish(chosen, round((monotonic() - begin) * 1000))

    def _choose(self, usable: runtime.Account) -> list[str]:
        """Return the currencies in the order of their worth: asked for, else left over, pinned, stored, all others."""
        account = self.log.exchange_account
        if self.log.currencies and not self.log.results:
            return list(self.log.currencies)
        stored = DepositAddress.objects.present().filter(exchange_account=account)
        known = list(stored.order_by("currency").values_list("currency", flat=True).distinct())
        pinned = _read_pinned(account)
        if account.sync_cursor:
            return list(account.sync_cursor)
        if self.log.sync_type == Kind.INCREMENTAL and (pinned or known):
            return list(dict.fromkeys([*pinned, *known]))
        options = runtime.list_networks(usable, timeout_seconds=10)
        if not account.sandbox_mode:
            record_networks(account.exchange_id, options)
        listed = sorted({option.currency for option in options})
        return list(dict.fromkeys([*pinned, *known, *listed]))

    def _take(self, fetched: Fetched, usable: runtime.Account) -> bool:
        """Store the outcome of a currency; False if another worker has the job."""
        result: dict[str, Any]
        if isinstance(fetched.error, VenueTimeout) and monotonic() > self.ends - CUT_OFF_SECONDS:
            return True  # our budget ended it, not the exchange: it is left for the next time
        try:
            if fetched.error is not None:
                raise fetched.error
            answer = self._confirm(usable, fetched.currency, fetched.addresses or Addresses(()))
            changes = store_answer(self.log.exchange_account, fetched.currency, answer)
            self.changes.added += changes.added
            self.changes.updated += changes.updated
            self.changes.removed += changes.removed
            self.answered = True
            result = {"status": "success", "addresses": len(answer.found)}
            if answer.refused:
                result["refused"] = [
                    {"network": one.network or one.venue_network, "code": one.code}
                    for one in answer.refused
                ]
        except VenueError as error:
            result = self._note(error)
        self.results[fetched.currency] = result
        return self._set(
            results=self.results,
            currencies_synced=sorted(
                code for code, one in self.results.items() if one["status"] == "success"
            ),
            addresses_added=self.changes.added,
            addresses_updated=self.changes.updated,
            addresses_removed=self.changes.removed,
        )

    def _note(self, error: VenueError) -> dict[str, Any]:
        """Return what the record says of a currency without addresses; a surprise is told as one."""
        was_asked_for = self.log.sync_type == Kind.SINGLE_CURRENCY
        if isinstance(error, NOTHING_THERE) and not was_asked_for:
            self.answered = True
            return {"status": "skipped", "code": error.code}
        self.last_error = error
        return {"status": "failed", "code": error.code, "message": str(error), **error.details}

    def _confirm(self, usable: runtime.Account, currency: str, answer: Addresses) -> Addresses:
        """Ask again where an answer replaces an address that we show.

        :raises AddressNotConfirmed: the second answer is another
        """
        account = self.log.exchange_account
        if not differs(account, currency, answer.found):
            return answer
        again = runtime.fetch_deposit_addresses(usable, currency=currency, timeout_seconds=10)
        if {(one.network, one.address, one.tag) for one in again.found} != {
            (one.network, one.address, one.tag) for one in answer.found
        }:
            raise AddressNotConfirmed(
                "The exchange named two different addresses: neither is stored.",
                venue=account.exchange_id,
                currency=currency,
            )
        return again

    def _set(self, **values: Any) -> bool:
        """Write progress, if the job is still ours."""
        return bool(
            AddressSyncLog.objects.filter(
                pk=self.log.pk, token=self.log.token, status=Status.RUNNING
            ).update(**values)
        )

    def _finish(self, chosen: Sequence[str], duration_ms: int) -> None:
        remaining = [code for code in chosen if code not in self.results]
        failed = [code for code, one in self.results.items() if one["status"] == "failed"]
        if self.answered and not remaining and not failed:
            status = Status.SUCCESS
        elif self.answered:
            status = Status.PARTIAL
        else:
            status = Status.FAILED
        details = _describe_errors(failed, remaining, self.last_error)
        self.log.refresh_from_db()
        if not _end(self.log, status, details, duration_ms, remaining):
            return
        account = self.log.exchange_account
        account.refresh_from_db()
        if self.last_error is not None:
            note_failure(account, self.last_error)
        elif self.answered:
            with transaction.atomic():
                record_reachability(account.exchange_id, None)


def _end(
    log: AddressSyncLog,
    status: str,
    details: dict[str, Any] | None,
    duration_ms: int | None = None,
    remaining: Sequence[str] = (),
) -> bool:
    """Write the end once, tell it, and tell when too many have failed; False if somebody else has the job."""
    with transaction.atomic():
        ended = AddressSyncLog.objects.filter(
            pk=log.pk, token=log.token, status=Status.RUNNING
        ).update(
            status=status,
            error_details=details,
            sync_duration_ms=duration_ms,
            finished_at=Now(),
            lease_until=None,
        )
        if not ended:
            return False
        log.refresh_from_db()
        account = ExchangeAccount.objects.select_for_update(no_key=True).get(
            pk=log.exchange_account_id
        )
        account.sync_status = status
        account.last_sync_at = timezone.now()
        account.failed_syncs = account.failed_syncs + 1 if status == Status.FAILED else 0
        fields = ["sync_status", "last_sync_at", "failed_syncs", "updated_at"]
        if log.sync_type != Kind.SINGLE_CURRENCY:
            account.sync_cursor = list(remaining) if log.results else account.sync_cursor
            fields.append("sync_cursor")
        if status == Status.SUCCESS:
            account.error_code = account.error_message = ""
            account.refused_at = None
            fields += ["error_code", "error_message", "refused_at"]
        account.save(update_fields=fields)
        publish(account, "sync.finished", **describe_sync(log))
        count_sync(account.exchange_id, status)
        if account.failed_syncs == FAILURES_TO_TELL:
            publish(account, "exchange.sync_failing", failures=FAILURES_TO_TELL, error=details)
    return True


def _describe_errors(
    failed: Sequence[str], remaining: Sequence[str], error: VenueError | None
) -> dict[str, Any] | None:
    if not failed and not remaining and error is None:
        return None
    described: dict[str, Any] = {"failed": list(failed), "remaining": list(remaining)}
    if error is not None:
        described |= {"code": error.code, "message": str(error), **error.details}
    elif remaining:
        described |= {"code": "BUDGET_SPENT", "message": "The next synchronization goes on."}
    return described


def _name_kind(currencies: Sequence[str]) -> str:
    return Kind.SINGLE_CURRENCY if currencies else Kind.FULL


def _read_pinned(account: ExchangeAccount) -> list[str]:
    """Return the currencies that the owner pinned in the account's metadata; what is none is passed over."""
    given = account.metadata.get("currencies")
    pinned = []
    for code in given if isinstance(given, list) else ():
        try:
            pinned.append(read_currency(str(code)))
        except CurrencyNotSupported:
            continue
    return pinned
