"""Who is rung for, and that nobody has to hear it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from celery import current_app
from django.db import transaction
from django.utils import timezone
from kombu.transport.memory import Channel

from dj_wallet.payouts.models import Payout
from dj_wallet.payouts.services import schedule_payout
from dj_wallet.payouts.tasks import execute_due_payouts, execute_payout

pytestmark = pytest.mark.django_db(transaction=True)


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_app.conf, "broker_url", url)
    monkeypatch.setattr(current_app, "_pool", None)
    monkeypatch.setattr(current_app.amqp, "_producer_pool", None)


@pytest.fixture
def in_memory(monkeypatch) -> Iterator[None]:
    """A broker in memory instead of the service's."""
    point_to("memory://", monkeypatch)
    Channel.queues.clear()
    yield
    Channel.queues.clear()


def hear() -> list[tuple[str, int]]:
    """Take what a worker would hear: the tasks and the payouts they are for."""
    heard = []
    with current_app.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
        while queue.qsize():
            message = queue.get(block=False)
            heard.append((message.headers["task"], message.payload[0][0]))
            message.ack()
    return heard


def test_workers_are_rung_for_what_is_due_once_it_is_committed(wallet, in_memory):
    now = timezone.now()
    with transaction.atomic():
        due = [
            schedule_payout(wallet=wallet, amount=1, scheduled_for=at).payout.pk
            for at in (None, now)
        ]
        schedule_payout(wallet=wallet, amount=1, scheduled_for=now + timedelta(minutes=1))
        assert hear() == []
    assert hear() == [(execute_payout.name, payout) for payout in due]


def test_a_replay_rings_nobody(wallet, in_memory):
    for _ in range(2):
        schedule_payout(wallet=wallet, amount=1, idempotency_key="k")
    assert len(hear()) == 1


def test_nobody_is_rung_for_what_was_rolled_back(wallet, in_memory):
    with transaction.atomic():
        schedule_payout(wallet=wallet, amount=1)
        transaction.set_rollback(True)
    assert hear() == []


@pytest.fixture
def broken_broker() -> Iterator[tuple[str, list[object]]]:
    """A broker that hangs up on everybody: its address, and whom it hung up on."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    connection, address = server.accept()
                    callers.append(address)
                    connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0", callers
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_broker_that_was_away_is_not_rung_at_for_a_while(wallet, broken_broker, monkeypatch):
    address, callers = broken_broker
    point_to(address, monkeypatch)
    schedule_payout(wallet=wallet, amount=1)
    # Redis's client may call again by itself when it is hung up on in the middle of a greeting.
    tried = len(callers)
    assert tried
    for _ in range(2):
        schedule_payout(wallet=wallet, amount=1)
    assert list(Payout.objects.values_list("status", flat=True)) == ["pending"] * 3
    assert len(callers) == tried


def test_tasks_have_the_names_that_settings_and_services_call(settings):
    assert settings.CELERY_BEAT_SCHEDULE["execute-due-payouts"] == {
        "task": execute_due_payouts.name,
        "schedule": 10.0,
    }
    assert {execute_payout.name, execute_due_payouts.name} <= set(current_app.tasks)
