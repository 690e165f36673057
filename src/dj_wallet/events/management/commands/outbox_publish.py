"""`manage.py outbox_publish`: sends events without Celery."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from dj_wallet.events import services


class Command(BaseCommand):
    """Fans out and delivers what is in the outbox, once or until it is stopped."""

    help = "Send events from the outbox to their destinations. Celery's worker does it without this command."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--loop", action="store_true", help="go on, looking every second, until stopped"
        )

    def handle(self, *args: Any, loop: bool, **options: Any) -> None:
        while True:
            self.publish()
            if not loop:
                return
            time.sleep(1)

    def publish(self) -> None:
        """Send what is due now."""
        sent = 0
        while services.fan_out_events() == services.FAN_OUT_SIZE:
            pass
        for destination_id in services.list_due_destinations():
            while tried := services.deliver_events(destination_id):
                sent += tried
        if sent:
            self.stdout.write(f"{sent} deliveries tried")
