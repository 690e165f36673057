"""Make a key for another service: `manage.py create_service_key --name shop --scope internal:ledger`."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from dj_wallet.identity.errors import AddressesInvalid, ScopesInvalid
from dj_wallet.identity.models import User
from dj_wallet.identity.services import create_api_key


class Command(BaseCommand):
    help = (
        "Create an API key for another service and print it, once. The key acts as a user of the service's name, who"
        " is created if need be and has no password."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="The service, and its user here.")
        parser.add_argument(
            "--scope", action="append", required=True, help="What it may do; may be repeated."
        )
        parser.add_argument(
            "--address",
            action="append",
            default=[],
            help="An address or network it may be used from; may be repeated, else anywhere.",
        )
        parser.add_argument("--days", type=int, help="It ends after so many days; else never.")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        if days is not None and days < 1:
            raise CommandError("--days must be 1 or more.")
        with transaction.atomic():
            user = find_service_user(options["name"])
            try:
                _, text = create_api_key(
                    user=user,
                    name=options["name"],
                    scopes=options["scope"],
                    expires_at=None if days is None else timezone.now() + timedelta(days=days),
                    allowed_addresses=options["address"],
                )
            except (ScopesInvalid, AddressesInvalid) as refusal:
                raise CommandError(str(refusal)) from None
        self.stdout.write(text)


def find_service_user(name: str) -> User:
    """Return the user that stands for a service, created if need be.

    :raises CommandError: the name is a person's, who has a password
    """
    user, is_new = User.objects.get_or_create(username=name)
    if is_new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    elif user.has_usable_password():
        raise CommandError(f"{name} signs in with a password: that is a person, not a service.")
    return user
