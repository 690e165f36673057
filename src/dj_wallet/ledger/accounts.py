"""Assets and system accounts, created when first used."""

from typing import Final

from django.db import DEFAULT_DB_ALIAS

from .engine import MAX_CODE_LENGTH, is_storable
from .errors import AccountNotFound, MovementInvalid
from .models import Account, Asset

MAX_ASSET_CODE_LENGTH: Final = 32


def ensure_asset(code: str, *, decimal_places: int, using: str | None = None) -> Asset:
    """Return the asset, created with that many decimal places if it is new.

    :raises MovementInvalid: the code is not 1 to 32 characters
    """
    if not isinstance(code, str) or not is_storable(code, MAX_ASSET_CODE_LENGTH, minimum=1):
        raise MovementInvalid(f"An asset code has 1 to {MAX_ASSET_CODE_LENGTH} characters.")
    assets = Asset.objects.using(using or DEFAULT_DB_ALIAS)
    return assets.get_or_create(code=code, defaults={"decimal_places": decimal_places})[0]


def system_account(code: str, asset: str, *, using: str | None = None) -> int:
    """Return the id of our own account of that code and asset, created if it is new.

    :raises AccountNotFound: there is no such asset
    :raises MovementInvalid: the code is not 1 to 64 characters
    """
    alias = using or DEFAULT_DB_ALIAS
    accounts = Account.objects.using(alias).filter(kind=Account.Kind.SYSTEM)
    found = accounts.filter(code=code, asset=asset).values_list("pk", flat=True).first()
    if found is not None:
        return found
    if not is_storable(code, MAX_CODE_LENGTH, minimum=1):
        raise MovementInvalid(
            f"The code of a system account has 1 to {MAX_CODE_LENGTH} characters."
        )
    unit = Asset.objects.using(alias).filter(pk=asset).first()
    if unit is None:
        raise AccountNotFound(f"There is no asset {asset!r}.")
    account, _ = accounts.get_or_create(
        kind=Account.Kind.SYSTEM,
        code=code,
        asset=unit,
        defaults={"decimal_places": unit.decimal_places},
    )
    return account.pk
