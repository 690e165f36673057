"""Which coin wallets there are and what they hold. A coin wallet is the one whose slug is its coin's code in small letters."""

from datetime import datetime
from typing import Any, Final

from django.contrib.contenttypes.models import ContentType
from django.db.models import Count, DateTimeField, F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.expressions import RawSQL
from django.db.models.functions import Greatest, Lower
from django.http import Http404

from dj_wallet.custody.models import Address
from dj_wallet.identity.access import reads_all
from dj_wallet.identity.models import User
from dj_wallet.ledger.engine import Bucket
from dj_wallet.models import Wallet

# Why a wallet is frozen that its owner has put away.
ARCHIVED: Final = "archived"


def list_coin_wallets(user: User) -> QuerySet[Wallet]:
    """Return the coin wallets that the user may see, with coin, address and the time of the last change. One query."""
    wallets = Wallet.objects.all() if reads_all(user) else Wallet.objects.held_by(user)
    users = ContentType.objects.get_for_model(User)
    return select_details(wallets.filter(holder_type=users, slug=Lower("asset_id")))


def select_details(wallets: QuerySet[Wallet]) -> QuerySet[Wallet]:
    """Let wallets come with coin, address and the time of the last change."""
    current = Address.objects.filter(wallet=OuterRef("pk"), is_current=True)
    return wallets.select_related("asset").annotate(
        address=Subquery(current.values("address")[:1]),
        changed_at=last_change(),
    )


def is_coin_wallet(wallet: Wallet) -> bool:
    """Tell whether it is one: held by a user, and named after its coin. No query."""
    users = ContentType.objects.get_for_model(User)
    return bool(wallet.holder_type_id == users.pk and wallet.slug == wallet.asset_id.lower())


def get_coin_wallet(user: User, pk: int) -> Wallet:
    """Return a coin wallet that the user may see.

    :raises Http404: there is none
    """
    wallet = list_coin_wallets(user).filter(pk=pk).first()
    if wallet is None:
        raise Http404
    return wallet


def get_own_coin_wallet(user: User, pk: int) -> Wallet:
    """Return a coin wallet of the user's own.

    :raises Http404: there is none
    """
    wallet = get_coin_wallet(user, pk)
    if wallet.holder_id != user.pk:
        raise Http404
    return wallet


def find_holders(wallets: list[Wallet]) -> dict[Any, User]:
    """Return the users who hold the wallets, by primary key. One query."""
    return User.objects.in_bulk({wallet.holder_id for wallet in wallets})


def list_holdings(user: User) -> list[Any]:
    """Return what the user holds of each coin, over all wallets, not only coin wallets. One query."""
    sums = {name: Sum(name) for name in ("balance", "locked_balance", "pending_balance")}
    rows = (
        Wallet.objects.held_by(user)
        .values(coin=F("asset_id"), places=F("decimal_places"))
        .annotate(wallets=Count("pk"), **{f"{name}_sum": one for name, one in sums.items()})
    )
    return list(rows.order_by("coin"))


def last_change() -> Greatest:
    """Return the expression for when a wallet or what it holds last changed."""
    # GREATEST passes over what is null.
    return Greatest("updated_at", *_list_last_movements())


def find_change(wallet: Wallet) -> datetime:
    """Return when the wallet or what it holds last changed."""
    changed: datetime = getattr(wallet, "changed_at", wallet.updated_at)
    return changed


# The newest posting of one bucket of an account. Written as "the last at or below" and then looked at, because for
# "the newest with these values" PostgreSQL may read all postings from the newest on, hoping to meet one soon.
LAST_MOVEMENT: Final = """
(select newest.created_at from (
    select {side}_account_id as account, {side}_bucket as bucket, created_at from dj_wallet_posting
    where ({side}_account_id, {side}_bucket, id) <= ("dj_wallet_account"."id", %s, 9223372036854775807)
    order by {side}_account_id desc, {side}_bucket desc, id desc limit 1
) newest where newest.account = "dj_wallet_account"."id" and newest.bucket = %s)
"""


def _list_last_movements() -> list[RawSQL]:
    """Return when each bucket last gave and took: one probe of an index for each."""
    return [
        RawSQL(  # noqa: S611 - no text from outside
            LAST_MOVEMENT.format(side=side), (int(bucket), int(bucket)), DateTimeField()
        )
        for side in ("source", "destination")
        for bucket in Bucket
    ]
