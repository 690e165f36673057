"""Compare ledger, rows and node: `manage.py custody_reconcile [--full] [--unfreeze]`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dj_wallet.custody.served import connect_node, list_served
from dj_wallet.custody.services.chains import ensure_chain, unfreeze
from dj_wallet.custody.services.reconciliation import reconcile


class Command(BaseCommand):
    help = "Compare the books with the chain. Exit status 1 if anything is not explained."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--full", action="store_true", help="Ask the node for every output.")
        parser.add_argument(
            "--unfreeze", action="store_true", help="Lift the freeze of networks that agree."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        differs = False
        for served in list_served():
            name = served.network.name
            with connect_node(name) as node:
                found = reconcile(name, node, full=options["full"])
            self.stdout.write(
                f"{name} at {found.height}: ledger {found.ledger:.8f}, outputs {found.outputs:.8f}, "
                f"explained {found.explained}, unexplained {found.unexplained:.8f}"
            )
            for problem in found.node_problems:
                self.stdout.write(problem)
            agrees = not found.unexplained and not found.node_problems
            differs = differs or not agrees
            if options["unfreeze"] and agrees:
                unfreeze(ensure_chain(name))
        if differs:
            raise CommandError("Ledger and chain differ.", returncode=1)
