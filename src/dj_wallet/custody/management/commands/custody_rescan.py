"""Read blocks again: `manage.py custody_rescan NETWORK --from-height N [--rewind]`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from dj_wallet.custody.served import connect_node
from dj_wallet.custody.services.scanner import rescan_blocks, rewind_chain


class Command(BaseCommand):
    help = "Read blocks that were read before, and add what is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("network", help="Such as DOGE:main.")
        parser.add_argument("--from-height", type=int, required=True)
        parser.add_argument(
            "--rewind",
            action="store_true",
            help="Put the cursor back first, as after a reorganization deeper than we follow.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name, height = options["network"], options["from_height"]
        with connect_node(name) as node:
            if options["rewind"]:
                rewind_chain(name, node, to_height=max(0, height - 1))
                self.stdout.write(f"{name}: the scanner goes on at {height}.")
                return
            self.stdout.write(f"{name}: {rescan_blocks(name, node, from_height=height)} blocks.")
