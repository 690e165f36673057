"""A publisher that is killed in the middle."""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from django.db import connection

from tests.events.conftest import Receiver, happen, make_due, relay, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def start_publisher() -> "subprocess.Popen[bytes]":
    parts = connection.settings_dict
    url = f"postgresql://{parts['USER']}:{parts['PASSWORD']}@{parts['HOST']}:{parts['PORT']}/{parts['NAME']}"
    return subprocess.Popen(
        [sys.executable, "-m", "django", "outbox_publish", "--loop"],
        env={
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "wallet_service.settings",
        },
    )


def test_what_a_killed_publisher_did_not_finish_arrives_in_order(
    wallet: Any, webhook: Any, receiver: Receiver
):
    happen(wallet, *range(6))
    publisher = start_publisher()

    def kill_at_three(_: Any, message: dict[str, Any]) -> int:
        if message["data"]["number"] == 3:
            publisher.send_signal(signal.SIGKILL)
            publisher.wait(120)
            return 500
        return 200

    receiver.answer = kill_at_three
    wait_until(lambda: publisher.poll() is not None)
    assert receiver.numbers == [0, 1, 2]
    receiver.answer = None
    make_due()
    relay()
    # At least once: what arrived before the kill may come again, with the id it had.
    ids = {headers["webhook-id"] for headers, _ in receiver.received}
    assert len(ids) == 6
    assert list(dict.fromkeys(receiver.numbers)) == list(range(6))
