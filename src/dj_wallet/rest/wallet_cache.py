"""The wallets of a user as the API shows them, kept in Redis, never older than the last commit: ADR 0034.

An entry for each wallet, `wallet:<id>`, in two forms: as seed 004's paths show it ("plain"), as seed 000's do ("coin").
Two kinds of pointers lead to them: `wallets-of:<user>`, and `wallet-uuid:<uuid>`. A form is a line that says whose the wallet is, a line
that says what it can be filtered by, then the answer as it is sent.

Staff, who see everybody's, are answered from the database.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.http import Http404

from dj_wallet.custody.models import Address
from dj_wallet.identity.models import User
from dj_wallet.leases import Cache, Listed, begin_change, end_change
from dj_wallet.ledger import watch
from dj_wallet.models import Wallet

from .ahead import Wish
from .bodies import show_wallet
from .rendered import render

# A user with more wallets is answered from the database.
MAX_LISTED: Final = 200
TOO_MANY: Final = b"-"


class Form(NamedTuple):
    """A way in which wallets are shown, and how it is made."""

    name: str
    # Adds to a query what the form needs of a wallet.
    select: Callable[[QuerySet[Wallet]], QuerySet[Wallet]]
    # Returns what is kept of a wallet; nothing if it does not have the form.
    show: Callable[[Wallet], bytes]


class Entry(NamedTuple):
    """A wallet in one form, taken apart."""

    pk: int
    description: bytes
    body: bytes

    @property
    def head(self) -> Mapping[str, Any]:
        """What the wallet can be filtered by, and its tag."""
        head: Mapping[str, Any] = json.loads(self.description)
        return head


def pack(wallet: Wallet, body: bytes, **head: Any) -> bytes:
    """Return what is kept of a wallet: a line each for whose it is and what it can be filtered by, and the answer."""
    owner = name_owner(wallet.holder_type_id, wallet.holder_id)
    return b"\n".join((owner, json.dumps(head).encode(), body))


def unpack(pk: int, value: bytes, owner: bytes) -> Entry | None:
    """Return what was kept, taken apart, or None if it is nothing or somebody else's."""
    kept, _, rest = value.partition(b"\n")
    if kept != owner or not value:
        return None
    head, _, body = rest.partition(b"\n")
    return Entry(pk, head, body)


def name_owner(type_id: int, holder_id: Any) -> bytes:
    """Return what tells holders apart: a line."""
    return json.dumps([type_id, str(holder_id)]).encode()


def name_user(user: User) -> bytes:
    """Return what tells this holder from others."""
    return name_owner(ContentType.objects.get_for_model(user).pk, user.pk)


def wish_id(wallet_id: int, form: Form) -> Wish:
    """Return what `get_by_id` reads."""
    return Wish(f"wallet:{wallet_id}", form.name)


def wish_uuid(uuid: UUID, form: Form) -> Wish:
    """Return what `get_by_uuid` reads."""
    return Wish(f"wallet-uuid:{uuid}", form.name, "wallet")


def wish_list(user: User, form: Form) -> Wish:
    """Return what `list_of_user` reads."""
    return Wish(f"wallets-of:{user.pk}", form.name, "wallet")


def get_by_id(cache: Cache, user: User, wallet_id: int, form: Form) -> Entry:
    """Return a wallet of the user's. One query, none if it is kept.

    :raises Http404: there is none of this id, or it is not theirs
    """
    name = wish_id(wallet_id, form).name
    (found,) = cache.read([name], form.name)
    value = found.value
    if value is None:
        value = _load([wallet_id], form)[wallet_id]
        cache.fill(form.name, [(name, found, value)])
    return _show_to(user, wallet_id, value)


def get_by_uuid(cache: Cache, user: User, uuid: UUID, form: Form) -> Entry:
    """Return a wallet of the user's; see `get_by_id`. What is asked for the second time is kept."""
    pointer, facet, kind = wish_uuid(uuid, form)
    listed = cache.read_listed(pointer, kind, facet)
    if listed.ids:
        return _show_to(user, listed.ids[0], *_complete(cache, listed, form))
    wallet = form.select(Wallet.objects.filter(uuid=uuid)).first()
    if wallet is None:
        raise Http404
    cache.fill("listed", [(pointer, listed.pointer, str(wallet.pk).encode())])
    return _show_to(user, wallet.pk, form.show(wallet))


def list_of_user(cache: Cache, user: User, form: Form) -> list[Entry] | None:
    """Return the user's wallets that have the form, newest first; None if there are too many to be kept.

    One query, none if all are kept. What is asked for the second time is kept.
    """
    pointer, facet, kind = wish_list(user, form)
    listed = cache.read_listed(pointer, kind, facet)
    if listed.pointer.value == TOO_MANY:
        return None
    ids = listed.ids
    if listed.pointer.value is not None:
        values = _complete(cache, listed, form)
    else:
        own = form.select(Wallet.objects.held_by(user)).order_by("-pk")
        wallets = list(own[: MAX_LISTED + 1])
        is_too_long = len(wallets) > MAX_LISTED
        text = TOO_MANY if is_too_long else ",".join(str(one.pk) for one in wallets).encode()
        cache.fill("listed", [(pointer, listed.pointer, text)])
        if is_too_long:
            return None
        ids, values = [wallet.pk for wallet in wallets], [form.show(wallet) for wallet in wallets]
    owner = name_user(user)
    entries = (unpack(pk, value, owner) for pk, value in zip(ids, values, strict=True))
    return [entry for entry in entries if entry is not None]


def _complete(cache: Cache, listed: Listed, form: Form) -> list[bytes]:
    """Return what the pointer names, asking the database once for what the cache lacks."""
    values = [found.value for found in listed.entries]
    if None not in values:
        return cast(list[bytes], values)
    entries = dict(zip(listed.ids, listed.entries, strict=True))
    missing = [one for one, found in entries.items() if found.value is None]
    loaded = _load(missing, form)
    cache.fill(form.name, [(f"wallet:{one}", entries[one], loaded[one]) for one in missing])
    return [loaded[one] if (kept := entries[one].value) is None else kept for one in listed.ids]


def _load(ids: Sequence[int], form: Form) -> dict[int, bytes]:
    """Return the wallets of these ids as they are kept: nothing for those that do not exist. One query."""
    wallets = form.select(Wallet.objects.filter(pk__in=ids))
    return dict.fromkeys(ids, b"") | {wallet.pk: form.show(wallet) for wallet in wallets}


def _show_to(user: User, pk: int, value: bytes) -> Entry:
    """:raises Http404: it is nothing, or not the user's"""
    entry = unpack(pk, value, name_user(user))
    if entry is None:
        raise Http404
    return entry


def show_plainly(wallet: Wallet) -> bytes:
    """Return a wallet as seed 004's paths show it."""
    return pack(wallet, render(show_wallet(wallet)))


PLAIN: Final = Form("plain", lambda wallets: wallets, show_plainly)


class Movements:
    """Hears from the ledger which wallets change."""

    def begin(self, account_ids: Iterable[int], using: str) -> None:
        begin_change([f"wallet:{one}" for one in account_ids], using)

    def end(self, using: str) -> None:
        end_change(using)


_movements: Final = Movements()


def register() -> None:
    """Let the ledger and the models tell what changes. Registering again changes nothing."""
    if _movements not in watch.watchers:
        watch.watchers.append(_movements)
    for model, begin in ((Wallet, begin_wallet), (Address, begin_address)):
        for before in (pre_save, pre_delete):
            before.connect(begin, sender=model, dispatch_uid="wallet cache")
        for after in (post_save, post_delete):
            after.connect(end_saving, sender=model, dispatch_uid="wallet cache")


def begin_wallet(instance: Wallet, using: str | None = None, **_: Any) -> None:
    """Hear that a wallet is about to be saved or deleted. A new one changes what its holder has."""
    names = [f"wallets-of:{instance.holder_id}"]
    if not instance._state.adding:
        names += [f"wallet:{instance.pk}", f"wallet-uuid:{instance.uuid}"]
    begin_change(names, using or "default")


def begin_address(instance: Address, using: str | None = None, **_: Any) -> None:
    """Hear that a wallet is about to get another address."""
    if instance.wallet_id is not None:
        begin_change([f"wallet:{instance.wallet_id}"], using or "default")


def end_saving(instance: Model, using: str | None = None, **_: Any) -> None:
    """Hear that it is done."""
    end_change(using or "default")
