"""Plan and send withdrawals: `manage.py custody_send`. Any number may run. It has no key."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from dj_wallet.custody.chain.node import Node
from dj_wallet.custody.served import connect_node, list_served
from dj_wallet.custody.services.broadcast import broadcast_next
from dj_wallet.custody.services.spending import plan_next_withdrawal


class Command(BaseCommand):
    help = "Reserve outputs for withdrawals that wait, send what the signer has signed, and send it again until it is mined."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Stop when nothing is due.")
        parser.add_argument(
            "--poll-seconds", type=float, default=1.0, help="How often the queue is looked at."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        nodes = {served.network.name: connect_node(served.network.name) for served in list_served()}
        while True:
            for name, node in nodes.items():
                _work(name, node)
            if options["once"]:
                return
            time.sleep(options["poll_seconds"])


def _work(name: str, node: Node) -> None:
    while plan_next_withdrawal(name) is not None:
        pass
    while broadcast_next(name, node) is not None:
        pass
