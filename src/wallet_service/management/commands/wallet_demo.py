"""`manage.py wallet_demo`: create the demo data, or find it again, and show how to use it."""

import json
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from wallet_service.demo import Demo, load_demo


class Command(BaseCommand):
    help = "Create the demo users, wallets and API key, or find them again, and print curl lines that work."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError("Demo users have no place in production.")
        file = os.environ.get("WALLET_DEMO_FILE")
        demo = load_demo(
            url=os.environ.get("WALLET_URL", "http://127.0.0.1:8000").rstrip("/"),
            file=Path(file) if file else None,
        )
        self.stdout.write(json.dumps(demo) if options["json"] else describe(demo))


def describe(demo: Demo) -> str:
    """Return the demo for people."""
    logins = [f"Demo login: {user['username']} / {user['password']}" for user in demo["users"]]
    return "\n".join([*logins, f"API key: {demo['api_key']}", *demo["curl"]])
