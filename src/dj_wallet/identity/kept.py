"""API keys and users as requests need them, kept in Redis: who is asking costs no query. See `leases`.

Of a key only what the database has too, the hash of its secret; of a user not the password. Keys that sign requests are
not kept. A revoked key, or one whose user was locked out, opens nothing from that commit on. The same holds for the users
whom clients act for, and who other issuers' subjects are.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from allauth.idp.oidc.models import Client
from django.db import models
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from dj_wallet.leases import NOTHING, Cache, begin_change, end_change, get_cache
from dj_wallet.lookups import find_by

from .models import ApiKey, ExternalIdentity, User

FORM: Final = "row"
LEFT_OUT: Final = frozenset({"password", "signing_secret"})
MAX_REMEMBERED: Final = 4096

# The entries that this process saw last. What they say is true only if Redis has the same now.
_last: dict[str, bytes] = {}


class Owner(NamedTuple):
    """Somebody whom a credential acts for: the name of their entry, and how they are found without it."""

    name: str
    load: Callable[[], User | None]


def own_user(pk: UUID) -> Owner:
    """Return the user of this id."""
    return Owner(f"user:{pk}", lambda: next(iter(find_by(User, "id", [pk])), None))


def clients_owner(client_id: str) -> Owner:
    """Return whom a client of our issuer acts for when it acts for itself."""

    def load() -> User | None:
        client = Client.objects.select_related("owner").filter(pk=client_id).first()
        return None if client is None else client.owner

    return Owner(_name_client(client_id), load)


def external_user(issuer: str, subject: str) -> Owner:
    """Return who the subject of another issuer is here."""

    def load() -> User | None:
        known = ExternalIdentity.objects.select_related("user")
        identity = known.filter(issuer=issuer, subject=subject).first()
        return None if identity is None else identity.user

    return Owner(_name_external(issuer, subject), load)


def find_key(prefix: str, cache: Cache | None = None) -> ApiKey | None:
    """Return the key of this prefix with its user, usable or not. One query, none if it is kept."""

    def load() -> tuple[Sequence[models.Model], bool]:
        loaded = next(iter(find_by(ApiKey, "prefix", [prefix], related="user")), None)
        return ((), False) if loaded is None else ((loaded, loaded.user), not loaded.is_signing)

    rows = _find(name_key(prefix), (ApiKey, User), load, cache)
    if not rows:
        return None
    key: Any = rows[0]
    key.user = rows[1]
    key.__dict__.setdefault("signing_secret", "")
    found: ApiKey = key
    return found


def find_owner(owner: Owner, cache: Cache | None = None) -> User | None:
    """Return the user, who may be locked out, or None. One query, none if they are kept."""

    def load() -> tuple[Sequence[models.Model], bool]:
        user = owner.load()
        return ((), False) if user is None else ((user,), True)

    rows: Any = _find(owner.name, (User,), load, cache)
    return rows[0] if rows else None


def recall(name: str) -> bytes | None:
    """Return what this process last saw in an entry, which may have changed since."""
    return _last.get(name)


def name_key(prefix: str) -> str:
    """Return the entry of a key."""
    return f"key:{prefix}"


def _name_client(client_id: str) -> str:
    return f"client:{client_id}"


def _name_external(issuer: str, subject: str) -> str:
    return f"external:{hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()}"


def _find(
    name: str,
    kinds: Sequence[type[models.Model]],
    load: Callable[[], tuple[Sequence[models.Model], bool]],
    cache: Cache | None,
) -> Sequence[models.Model]:
    """Return the objects of an entry, from the cache or loaded; nothing if there are none."""
    cache = cache or get_cache()
    found = NOTHING if cache is None else cache.read([name], FORM)[0]
    if found.value is not None:
        _remember(name, found.value)
        return [
            kind.from_db("default", *row)
            for kind, row in zip(kinds, _read(found.value, tuple(kinds)), strict=True)
        ]
    rows, may_be_kept = load()
    if cache is not None and may_be_kept:
        cache.fill(FORM, [(name, found, _write(rows))])
    return rows


def _remember(name: str, value: bytes) -> None:
    if len(_last) >= MAX_REMEMBERED:
        _last.clear()
    _last[name] = value


def _write(rows: Iterable[models.Model]) -> bytes:
    return json.dumps(
        [{name: getattr(row, name) for name in _list_names(type(row))} for row in rows], default=str
    ).encode()


@lru_cache(maxsize=1024)
def _read(
    text: bytes, kinds: tuple[type[models.Model], ...]
) -> list[tuple[list[str], tuple[Any, ...]]]:
    """Return names and values of each row. What was left out is asked of the database if somebody wants it."""
    read = []
    for kind, row in zip(kinds, json.loads(text), strict=True):
        fields: Any = {field.attname: field for field in kind._meta.concrete_fields}
        values = tuple(fields[name].to_python(value) for name, value in row.items())
        read.append((list(row), values))
    return read


def _list_names(model: Any) -> Iterable[str]:
    names = (field.attname for field in model._meta.concrete_fields)
    return [name for name in names if name not in LEFT_OUT]


def register() -> None:
    """Let what is kept tell when it is saved or deleted. Registering again changes nothing."""
    begins: dict[Any, Callable[..., None]] = {
        ApiKey: begin_key,
        User: begin_user,
        Client: begin_client,
        ExternalIdentity: begin_external,
    }
    for model, begin in begins.items():
        for before in (pre_save, pre_delete):
            before.connect(begin, sender=model, dispatch_uid="kept identities")
        for after in (post_save, post_delete):
            after.connect(end_saving, sender=model, dispatch_uid="kept identities")


def begin_key(instance: ApiKey, using: str, **_: Any) -> None:
    """Hear that a key is about to be saved or deleted."""
    begin_change([name_key(instance.prefix)], using)


def begin_client(instance: Client, using: str, **_: Any) -> None:
    """Hear that a client is about to be saved or deleted."""
    begin_change([_name_client(instance.pk)], using)


def begin_external(instance: ExternalIdentity, using: str, **_: Any) -> None:
    """Hear that it is about to be said who a subject is."""
    begin_change([_name_external(instance.issuer, instance.subject)], using)


def begin_user(instance: User, using: str, **_: Any) -> None:
    """Hear that a user is about to be saved or deleted, who is kept with all that acts for them. Three queries."""
    if get_cache() is None or instance._state.adding:
        return
    keys = ApiKey.objects.using(using).filter(user=instance).values_list("prefix", flat=True)
    clients = Client.objects.using(using).filter(owner=instance).values_list("pk", flat=True)
    linked = ExternalIdentity.objects.using(using).filter(user=instance)
    subjects = [_name_external(*one) for one in linked.values_list("issuer", "subject")]
    acting = [*map(name_key, keys), *map(_name_client, clients), *subjects]
    begin_change([f"user:{instance.pk}", *acting], using)


def end_saving(using: str, **_: Any) -> None:
    """Hear that it is done."""
    end_change(using)
