"""Check that the books balance: `manage.py wallet_audit [--json] [--database ALIAS]`."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from dj_wallet.ledger.audit import audit_ledger


class Command(BaseCommand):
    help = (
        "Compare every balance with its postings. Exit status 1 and a list if anything disagrees."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print a machine-readable report.")
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help="The database alias to audit."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        report = audit_ledger(using=options["database"])
        if options["json"]:
            summary = {
                "accounts": report.accounts,
                "postings": report.postings,
                "is_clean": report.is_clean,
            }
            self.stdout.write(
                json.dumps({**summary, "problems": [one._asdict() for one in report.problems]})
            )
        else:
            for problem in report.problems:
                self.stdout.write(str(problem))
            self.stdout.write(
                f"{report.accounts} accounts, {report.postings} postings: {len(report.problems)} problems"
            )
        if not report.is_clean:
            raise CommandError("The books do not balance.", returncode=1)
