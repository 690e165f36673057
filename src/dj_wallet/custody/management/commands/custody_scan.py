"""Read the chains: `manage.py custody_scan`. Any number may run; one at a time moves a cursor."""

import logging
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from dj_wallet.custody.chain.errors import NodeError
from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.served import connect_node, list_served
from dj_wallet.custody.services.reconciliation import reconcile
from dj_wallet.custody.services.scanner import scan_chain

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Read the blocks of every network that is served, credit what they confirm, and reconcile after each look."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="Stop when every cursor is at its tip."
        )
        parser.add_argument(
            "--start-height",
            type=int,
            help="The first block to read of a network that was never read; without it, the newest.",
        )
        parser.add_argument(
            "--poll-seconds", type=float, default=2.0, help="How often the nodes are asked."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        nodes = {served.network.name: connect_node(served.network.name) for served in list_served()}
        while True:
            looks = [_look(name, node, options["start_height"]) for name, node in nodes.items()]
            if all(looks):
                if options["once"]:
                    return
                time.sleep(options["poll_seconds"])


def _look(name: str, node: Node, start_height: int | None) -> bool:
    """Follow one network; tell whether its cursor is as far as it gets for now."""
    scan = scan_chain(name, node, start_height=start_height)
    if scan.connected or scan.disconnected:
        try:
            reconcile(name, node)
        except NodeError as error:
            logger.warning("%s was not compared with its node: %s", name, error)
    return scan.is_done
