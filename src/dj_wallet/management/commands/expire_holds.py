"""Give back what is held past its time: `manage.py expire_holds [--database ALIAS]`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from dj_wallet.services.holds import expire_due_holds


class Command(BaseCommand):
    help = (
        "End the holds whose time is over, for cron. Celery's worker does it without this command."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", help="The database alias of the holds.")

    def handle(self, *args: Any, **options: Any) -> None:
        expired = 0
        while ended := expire_due_holds(using=options["database"]):
            expired += ended
        self.stdout.write(f"{expired} holds expired")
