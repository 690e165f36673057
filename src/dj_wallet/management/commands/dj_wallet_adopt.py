"""Take over a database of release 0.1.0: `manage.py dj_wallet_adopt [--apply] [--json] [--database ALIAS]`."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from dj_wallet.adoption.discrepancies import Discrepancy
from dj_wallet.adoption.histories import PAGE
from dj_wallet.adoption.openings import Adopted, adopt_wallets
from dj_wallet.adoption.report import Report, inspect_release


class Command(BaseCommand):
    help = (
        "Report what a database of release 0.1.0 holds and what in it cannot be right; with --apply, write the "
        "opening entry of each wallet. Exit status 1 if there are discrepancies."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--dry-run", action="store_true", help="Only report. The default.")
        mode.add_argument("--apply", action="store_true", help="Report, then write.")
        parser.add_argument("--json", action="store_true", help="Print a machine-readable report.")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="The database alias.")
        parser.add_argument(
            "--batch-size", type=int, default=PAGE, help="Wallets in a transaction, default 1000."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        using, as_json = options["database"], options["json"]
        if not 1 <= options["batch_size"] <= PAGE:
            raise CommandError(f"--batch-size is 1 to {PAGE}.", returncode=2)
        report = inspect_release(
            using=using, on_progress=lambda wallets: self._say(f"read {wallets} wallets")
        )
        if not as_json:
            self._print(report)
        adopted = Adopted()
        refused: list[Discrepancy] = []
        if options["apply"]:
            adopted, refused = adopt_wallets(
                using=using,
                batch_size=options["batch_size"],
                on_progress=lambda done: self._say(
                    f"adopted {done.wallets} of {report.wallets} wallets"
                ),
            )
        report.discrepancies.extend(refused)
        if as_json:
            result = {**report.as_dict(), "applied": options["apply"], "adopted": adopted._asdict()}
            self.stdout.write(json.dumps(result))
        else:
            self._print_end(report, adopted, refused, options["apply"])
        if not report.is_clean:
            raise CommandError(
                f"{len(report.discrepancies)} discrepancies were found.", returncode=1
            )

    def _say(self, text: str) -> None:
        """Progress goes to stderr: stdout is the report."""
        self.stderr.write(text, self.style.NOTICE)

    def _print(self, report: Report) -> None:
        for one in report.discrepancies:
            self.stdout.write(str(one))
        self.stdout.write(
            f"To adopt: {report.wallets} wallets, {report.transactions} transactions, "
            f"{report.transfers} transfers. Adopted before: {report.already_adopted} wallets."
        )
        for code, total in report.assets.items():
            self.stdout.write(f"  {total.wallets} wallets hold {total.balance:f} {code}")
        self.stdout.write(f"Discrepancies: {len(report.discrepancies)}.")

    def _print_end(
        self, report: Report, adopted: Adopted, refused: list[Discrepancy], applied: bool
    ) -> None:
        for one in refused:
            self.stdout.write(str(one))
        if applied:
            self.stdout.write(
                f"Adopted {adopted.wallets} wallets, {adopted.transactions} transactions, "
                f"{adopted.transfers} transfers."
            )
        elif report.wallets:
            self.stdout.write("Nothing was changed. Run again with --apply to write.")
