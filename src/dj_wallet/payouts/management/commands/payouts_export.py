"""Write the due orders of a bank that takes files: `manage.py payouts_export BANK [--folder FOLDER]`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dj_wallet.ledger.errors import WalletException
from dj_wallet.payouts.services import export_orders


class Command(BaseCommand):
    help = "Make pain.001 files of the due payouts of a bank and hold their money."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("bank", help="The bank, as PAYOUTS names it.")
        parser.add_argument("--folder", type=Path, default=Path(), help="Where to write the files.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            while file := export_orders(bank=options["bank"]):
                path = options["folder"] / f"{file.message_id}.xml"
                path.write_text(file.text)
                self.stdout.write(f"{path}: {file.orders} orders, {file.total}")
        except WalletException as refusal:
            raise CommandError(str(refusal)) from refusal
