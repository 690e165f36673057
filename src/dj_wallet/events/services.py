"""Every write of events and of where they go.

The way of an event: `publish_event` in the caller's transaction; once that is committed `fan_out_events` gives it a
position and a delivery for each destination that wants it; `deliver_events` claims deliveries, sends them between
transactions, and writes what came of them.

What is promised: at least once, with a stable id; the events of one subject reach a destination in order, each only
after its predecessor arrived or was given up. Rows are the queue and time is the database's.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import connection, transaction
from django.db.models import Exists, F, Max, OuterRef
from django.db.models.functions import Now

from dj_wallet.ledger.engine import is_storable
from dj_wallet.utils import get_wallet_model

from .errors import DeliveryInFlight, TooManyWebhooks, WebhookInvalid
from .models import Delivery, DeliveryAttempt, Destination, Event
from .secrets import make_secret, seal
from .sinks import Outcome, Result, get_sink
from .sinks.webhook import is_allowed

logger = logging.getLogger(__name__)

FAN_OUT_SIZE: Final = 500
FAN_OUT_LOCK: Final = 7_203_411_905_001  # any number that nobody else takes an advisory lock on
# Longer than the slowest batch: sinks stop after SEND_SECONDS and the attempt that they are in.
LEASE: Final = timedelta(minutes=2)
# What the specification of Standard Webhooks suggests, from seconds to a day.
RETRY_AFTER: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
# A destination that nothing reaches is left alone, longer each time. That is no fault of the event's: it is not counted.
PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (2, 5, 15, 60, 300))
DISABLE_AFTER: Final = timedelta(days=5)
OLD_SECRET_FOR: Final = timedelta(hours=24)
MAX_WEBHOOKS: Final = 20
MAX_ANSWER: Final = 500
WALLET_SUBJECT: Final = "wallet:"


def publish_event(*, event_type: str, subject: str, data: Mapping[str, Any]) -> Event:
    """Record the event in the caller's transaction: it leaves if that commits, and only then.

    :param event_type: what happened, such as `deposit.confirmed`
    :param subject: what it happened to, such as `wallet:<uuid>`, whose holder may hear it; events of one subject keep
        their order if the caller holds a lock on it, which every movement of a wallet does
    :param data: JSON values; amounts are strings
    """
    return Event.objects.create(type=event_type, subject=subject, data=dict(data))


def fan_out_events() -> int:
    """Give committed events their positions and deliveries; return how many there were.

    One process does it at a time, so that positions become visible in their order; the others return 0.
    """
    with transaction.atomic():
        if not _try_lock(FAN_OUT_LOCK):
            return 0
        events = list(Event.objects.filter(position=None).order_by("id")[:FAN_OUT_SIZE])
        if not events:
            return 0
        _number(events)
        _ensure_buses()
        destinations = list(Destination.objects.filter(disabled_at=None))
        Delivery.objects.bulk_create(
            _build_delivery(event, destination)
            for event in events
            for destination in destinations
            if wants(destination, event)
        )
        return len(events)


def wants(destination: Destination, event: Event) -> bool:
    """Tell whether the destination may hear the event and asked for its type (`deposit.*` asks for all deposits)."""
    if destination.user_id is not None and destination.user_id != event.user_id:
        return False
    return not destination.event_types or any(
        event.type == wanted or (wanted.endswith(".*") and event.type.startswith(wanted[:-1]))
        for wanted in destination.event_types
    )


def list_due_destinations() -> list[int]:
    """Return the destinations for which something can be sent now."""
    waiting = Delivery.objects.filter(
        destination=OuterRef("pk"), status=Delivery.Status.PENDING, next_attempt_at__lte=Now()
    )
    return list(
        Destination.objects.filter(Exists(waiting), disabled_at=None, retry_at__lte=Now())
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def deliver_events(destination_id: int) -> int:
    """Send what is due for the destination, one batch; return how many events were tried.

    Must not run inside a transaction: others are called.
    """
    claimed = _claim(destination_id)
    if claimed is None:
        return 0
    destination, deliveries, token = claimed
    results = get_sink(destination.kind).send(destination, deliveries)
    _record(destination, deliveries, results, token)
    return len(results)


def create_webhook(
    *, user: Any, url: str, event_types: Sequence[str] = ()
) -> tuple[Destination, str]:
    """Create a webhook for the user's events (None: for all); return it and its secret, which is shown only now.

    :raises WebhookInvalid: the address is not one that events may be sent to, or a type is none
    :raises TooManyWebhooks: the user has 20
    """
    _check_url(url)
    _check_types(event_types)
    secret = make_secret()
    with transaction.atomic():
        if user is not None:
            get_user_model()._default_manager.select_for_update().get(pk=user.pk)
            if Destination.objects.filter(user=user).count() >= MAX_WEBHOOKS:
                raise TooManyWebhooks(f"You have {MAX_WEBHOOKS} webhooks: delete one first.")
        webhook = Destination.objects.create(
            kind=Destination.Kind.WEBHOOK,
            user=user,
            url=url,
            event_types=sorted(set(event_types)),
            secret=seal(secret),
        )
    return webhook, secret


def change_webhook(
    webhook: Destination,
    *,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
    is_enabled: bool | None = None,
) -> None:
    """Change what is given. Enabled again, it hears what happens from then on; `replay_events` sends the rest.

    :raises WebhookInvalid: see `create_webhook`
    """
    changes: dict[str, Any] = {}
    if url is not None:
        _check_url(url)
        changes["url"] = url
    if event_types is not None:
        _check_types(event_types)
        changes["event_types"] = sorted(set(event_types))
    if is_enabled is True:
        changes |= {"disabled_at": None, "disabled_reason": "", "failures": 0}
        changes |= {"failing_since": None, "retry_at": Now()}
    if is_enabled is False:
        changes |= {"disabled_at": Now(), "disabled_reason": "by its owner"}
    if changes:
        Destination.objects.filter(pk=webhook.pk).update(**changes)
        webhook.refresh_from_db()


def rotate_secret(webhook: Destination) -> str:
    """Give the webhook a new secret and return it; for 24 hours messages are signed with both."""
    secret = make_secret()
    Destination.objects.filter(pk=webhook.pk).update(
        old_secret=F("secret"), old_secret_until=Now() + OLD_SECRET_FOR, secret=seal(secret)
    )
    webhook.refresh_from_db()
    return secret


def replay_delivery(delivery: Delivery) -> None:
    """Send the event again, whether it was delivered or given up.

    :raises DeliveryInFlight: it is waiting to be sent already
    """
    ended = Delivery.objects.filter(pk=delivery.pk).exclude(status=Delivery.Status.PENDING)
    if not ended.update(**_anew()):
        raise DeliveryInFlight("The event is waiting to be sent already.")
    delivery.refresh_from_db()


def replay_events(destination: Destination, *, after: int, dead_only: bool = False) -> int:
    """Send what happened after the position again, or of that only what was given up; return how many events.

    Includes what the destination missed while it was disabled or did not exist.
    """
    with transaction.atomic():
        Destination.objects.select_for_update().get(pk=destination.pk)
        known = Delivery.objects.filter(destination=destination, position__gt=after)
        ended = known.filter(status=Delivery.Status.DEAD)
        if not dead_only:
            ended = known.exclude(status=Delivery.Status.PENDING)
        count = ended.update(**_anew())
        return count if dead_only else count + _deliver_missed(destination, after)


def _deliver_missed(destination: Destination, after: int) -> int:
    heard = Delivery.objects.filter(destination=destination, event=OuterRef("pk"))
    events = Event.objects.filter(~Exists(heard), position__gt=after).order_by("position")
    if destination.user_id is not None:
        events = events.filter(user=destination.user_id)
    missed = (
        _build_delivery(event, destination)
        for event in events.iterator(FAN_OUT_SIZE)
        if wants(destination, event)
    )
    count = 0
    while batch := list(islice(missed, FAN_OUT_SIZE)):
        count += len(Delivery.objects.bulk_create(batch))
    return count


def _anew() -> dict[str, Any]:
    return {
        "status": Delivery.Status.PENDING,
        "attempts": 0,
        "next_attempt_at": Now(),
        "token": None,
        "delivered_at": None,
    }


def _try_lock(number: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])


def _number(events: Sequence[Event]) -> None:
    """Write the positions and whose wallets the events are about."""
    last = Event.objects.aggregate(last=Max("position"))["last"] or 0
    users = _find_holders(events)
    for position, event in enumerate(events, last + 1):
        event.position = position
        event.user_id = users.get(event.subject)
    Event.objects.bulk_update(events, ["position", "user"])


def _find_holders(events: Iterable[Event]) -> dict[str, Any]:
    """Return the users who hold the wallets that are subjects. One query."""
    uuids = set(filter(None, (_read_wallet(event.subject) for event in events)))
    if not uuids:
        return {}
    user_model = get_user_model()
    wallets = get_wallet_model()._default_manager.filter(
        uuid__in=uuids, holder_type=ContentType.objects.get_for_model(user_model)
    )
    held = {f"{WALLET_SUBJECT}{wallet.uuid}": wallet.holder_id for wallet in wallets}
    known = set(
        user_model._default_manager.filter(pk__in=set(held.values())).values_list("pk", flat=True)
    )
    return {subject: pk for subject, pk in held.items() if pk in known}


def _read_wallet(subject: str) -> UUID | None:
    try:
        return UUID(subject.removeprefix(WALLET_SUBJECT)) if subject.startswith(WALLET_SUBJECT) else None  # fmt: skip
    except ValueError:
        return None


def _ensure_buses() -> None:
    """Have a destination for each bus that the settings name, and for no other."""
    buses = Destination.objects.exclude(kind=Destination.Kind.WEBHOOK)
    known = set(buses.values_list("kind", flat=True))
    for kind in settings.EVENT_SINKS:
        if kind not in known:
            Destination.objects.create(kind=kind)
    buses.filter(kind__in=settings.EVENT_SINKS).exclude(disabled_at=None).update(disabled_at=None)
    buses.exclude(kind__in=settings.EVENT_SINKS).filter(disabled_at=None).update(
        disabled_at=Now(), disabled_reason="not in the settings"
    )


def _build_delivery(event: Event, destination: Destination) -> Delivery:
    assert event.position is not None  # noqa: S101 - only events that have one are delivered
    return Delivery(
        event=event, destination=destination, position=event.position, subject=event.subject
    )


def _claim(destination_id: int) -> tuple[Destination, list[Delivery], UUID] | None:
    """Take the next deliveries of a destination for the length of a lease.

    An event waits as long as an earlier one of its subject is claimed by somebody or waits for its next attempt. The
    lock on the destination makes claims one after the other.
    """
    with transaction.atomic():
        destination = (
            Destination.objects.select_for_update(skip_locked=True)
            .filter(pk=destination_id, disabled_at=None, retry_at__lte=Now())
            .first()
        )
        if destination is None:
            return None
        waiting = Delivery.objects.filter(destination=destination, status=Delivery.Status.PENDING)
        held_back = waiting.filter(
            subject=OuterRef("subject"),
            position__lt=OuterRef("position"),
            next_attempt_at__gt=Now(),
        )
        size = get_sink(destination.kind).batch_size
        due = waiting.filter(~Exists(held_back), next_attempt_at__lte=Now())
        deliveries = list(due.select_related("event").order_by("position")[:size])
        if not deliveries:
            return None
        token = uuid4()
        Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries]).update(
            token=token, next_attempt_at=Now() + LEASE, attempts=F("attempts") + 1
        )
        for delivery in deliveries:
            delivery.attempts += 1
        return destination, deliveries, token


def _record(
    destination: Destination,
    deliveries: Sequence[Delivery],
    results: Sequence[Result],
    token: UUID,
) -> None:
    """Write what came of a batch; what was not tried, or could not be sent at all, goes back into the queue."""
    ours = Delivery.objects.filter(token=token, status=Delivery.Status.PENDING)
    delivered = [
        delivery.pk
        for delivery, result in zip(deliveries, results, strict=False)
        if result.outcome == Outcome.DELIVERED
    ]
    with transaction.atomic():
        ours.filter(pk__in=delivered).update(
            status=Delivery.Status.DELIVERED, delivered_at=Now(), token=None
        )
        for delivery, result in zip(deliveries, results, strict=False):
            if result.outcome in {Outcome.RETRY, Outcome.REJECTED}:
                _put_off(ours.filter(pk=delivery.pk), delivery, result)
        ours.update(next_attempt_at=Now(), attempts=F("attempts") - 1, token=None)
        DeliveryAttempt.objects.bulk_create(
            DeliveryAttempt(
                delivery=delivery,
                outcome=result.outcome,
                answer=result.answer[:MAX_ANSWER],
                duration_ms=result.duration_ms,
            )
            for delivery, result in zip(deliveries, results, strict=False)
        )
        _judge(destination, results)


def _put_off(row: Any, delivery: Delivery, result: Result) -> None:
    """Have a failed delivery wait for its next attempt, or give it up."""
    if result.outcome == Outcome.REJECTED or delivery.attempts > len(RETRY_AFTER):
        logger.error("Event %s is given up: %s", delivery.event.uuid, result.answer)
        row.update(status=Delivery.Status.DEAD, token=None)
    else:
        wait = RETRY_AFTER[delivery.attempts - 1]
        row.update(next_attempt_at=Now() + wait, token=None)


def _judge(destination: Destination, results: Sequence[Result]) -> None:
    """Note how the destination does: leave it alone for a while, or for good."""
    row = Destination.objects.filter(pk=destination.pk)
    outcomes = {result.outcome for result in results}
    if Outcome.GONE in outcomes:
        row.update(disabled_at=Now(), disabled_reason="It answered 410 Gone.")
    elif Outcome.UNREACHABLE in outcomes:
        pause = PAUSES[min(destination.failures, len(PAUSES) - 1)]
        row.update(failures=F("failures") + 1, retry_at=Now() + pause)
        _note_failing(row)
    elif Outcome.DELIVERED in outcomes:
        if destination.failures or destination.failing_since:
            row.update(failures=0, failing_since=None)
    else:
        _note_failing(row)


def _note_failing(row: Any) -> None:
    row.filter(failing_since=None).update(failing_since=Now())
    webhooks = row.filter(kind=Destination.Kind.WEBHOOK)
    if webhooks.filter(failing_since__lt=Now() - DISABLE_AFTER).update(
        disabled_at=Now(), disabled_reason="Nothing arrived for five days."
    ):
        logger.error("A webhook is disabled: nothing arrived for five days")


def _check_url(url: str) -> None:
    """:raises WebhookInvalid: events may not be sent there"""
    schemes = ["https", "http"] if settings.WEBHOOKS_TO_PRIVATE_ADDRESSES else ["https"]
    try:
        URLValidator(schemes)(url)
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except (ValidationError, ValueError):
        raise WebhookInvalid(f"The address must begin with {schemes[0]}://.") from None
    if not is_storable(url, 500, minimum=1) or not url.isascii():
        raise WebhookInvalid("The address must have at most 500 ASCII characters.")
    if parts.username or parts.password or parts.fragment:
        raise WebhookInvalid("The address must have neither a user nor a fragment.")
    try:
        allowed = is_allowed(host)
    except ValueError:
        return  # A name: looked up, and judged, each time something is sent.
    if not allowed:
        raise WebhookInvalid("The address is not public.")


def _check_types(event_types: Sequence[str]) -> None:
    """:raises WebhookInvalid: one is no name of events"""
    for name in event_types:
        if not 0 < len(name) <= 100 or not name.isascii() or not name.isprintable():
            raise WebhookInvalid("The name of an event has 1 to 100 printable ASCII characters.")
    if len(event_types) > 100:
        raise WebhookInvalid("At most 100 event types may be named.")
