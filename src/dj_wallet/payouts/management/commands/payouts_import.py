"""Read statements of a bank: `manage.py payouts_import BANK FILE...`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count

from dj_wallet.ledger.errors import WalletException
from dj_wallet.payouts.iso20022 import read_statements
from dj_wallet.payouts.services import import_statement


class Command(BaseCommand):
    help = "Compare camt.053 statements with the payouts of a bank. A statement is taken in once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("bank", help="The bank, as PAYOUTS names it.")
        parser.add_argument("files", nargs="+", type=Path, help="camt.053 files.")

    def handle(self, *args: Any, **options: Any) -> None:
        for path in options["files"]:
            try:
                parsed = read_statements(path.read_bytes())
                for one in parsed:
                    self._show(*import_statement(bank=options["bank"], statement=one))
            except (WalletException, OSError) as error:
                raise CommandError(f"{path}: {error}") from error

    def _show(self, statement: Any, is_new: bool) -> None:
        counts = statement.lines.values_list("verdict").annotate(Count("pk")).order_by("verdict")
        shown = ", ".join(f"{verdict} {count}" for verdict, count in counts) or "no lines"
        known = "" if is_new else " (imported before)"
        self.stdout.write(f"{statement.identifier}{known}: {shown}")
