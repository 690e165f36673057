"""`manage.py exchange_keys`: which keys wrap the credentials, wrap them by today's key, or make a key."""

import os
from argparse import ArgumentParser
from base64 import urlsafe_b64encode
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dj_wallet.exchanges.services.keys import count_keys, rewrap_all


class Command(BaseCommand):
    help = "Show which keys wrap the credentials of exchange accounts, wrap all by today's key, or make a key."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["status", "rewrap", "make"])

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "make":
            self.stdout.write(urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode())
            return
        if options["verb"] == "rewrap":
            done, failures = rewrap_all()
            self.stdout.write(f"{done} wrapped by today's key")
            for code, count in sorted(Counter(failures.values()).items()):
                self.stdout.write(f"{count} left as they are: {code}")
            if failures:
                raise CommandError("Some could not be wrapped anew; nothing of them is lost.")
        for name, count in sorted(count_keys().items()):
            self.stdout.write(f"{name}: {count}")
