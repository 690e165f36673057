"""API keys and users as requests need them, kept in Redis: who is asking costs no query. See `leases`.

Of a key only what the database has too, the hash of its secret; of a user not the password. Keys that sign requests are
not kept. A revoked key, or one whose user was locked out, opens nothing from that commit on.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from django.db import models
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from dj_wallet.leases import begin_change, end_change, get_cache
from dj_wallet.lookups import find_by

from .models import ApiKey, User

FORM: Final = "row"
LEFT_OUT: Final = frozenset({"password", "signing_secret"})


def find_key(prefix: str) -> ApiKey | None:
    """Return the key of this prefix with its user, usable or not. One query, none if it is kept."""
    cache = get_cache()
    name = name_key(prefix)
    found = None if cache is None else cache.read([name], FORM)[0]
    if found is not None and found.value is not None:
        values, users_values = _read(found.value)
        key: ApiKey = _restore(ApiKey, values)
        key.user, key.signing_secret = _restore(User, users_values), ""
        return key
    loaded = next(iter(find_by(ApiKey, "prefix", [prefix], related="user")), None)
    if cache is not None and found is not None and loaded is not None and not loaded.is_signing:
        cache.fill(FORM, [(name, found, _write(loaded, loaded.user))])
    return loaded


def find_user(pk: UUID) -> User | None:
    """Return the user of this id, who may be locked out. One query, none if they are kept."""
    cache = get_cache()
    name = f"user:{pk}"
    found = None if cache is None else cache.read([name], FORM)[0]
    if found is not None and found.value is not None:
        known: User = _restore(User, *_read(found.value))
        return known
    user = next(iter(find_by(User, "id", [pk])), None)
    if cache is not None and found is not None and user is not None:
        cache.fill(FORM, [(name, found, _write(user))])
    return user


def name_key(prefix: str) -> str:
    """Return the entry of a key."""
    return f"key:{prefix}"


def _write(*rows: models.Model) -> bytes:
    return json.dumps(
        [{name: getattr(row, name) for name in _list_names(type(row))} for row in rows], default=str
    ).encode()


@lru_cache(maxsize=1024)
def _read(text: bytes) -> list[dict[str, Any]]:
    return list(json.loads(text))


def _restore(model: Any, values: dict[str, Any]) -> Any:
    """Return the object of a row as it is kept. What was left out is asked of the database if somebody wants it."""
    fields = {field.attname: field for field in model._meta.concrete_fields}
    return model.from_db(
        "default", list(values), [fields[name].to_python(value) for name, value in values.items()]
    )


def _list_names(model: Any) -> Iterable[str]:
    names = (field.attname for field in model._meta.concrete_fields)
    return [name for name in names if name not in LEFT_OUT]


def register() -> None:
    """Let keys and users tell when they are saved or deleted. Registering again changes nothing."""
    for model, begin in ((ApiKey, begin_key), (User, begin_user)):
        for before in (pre_save, pre_delete):
            before.connect(begin, sender=model, dispatch_uid="kept identities")
        for after in (post_save, post_delete):
            after.connect(end_saving, sender=model, dispatch_uid="kept identities")


def begin_key(instance: ApiKey, using: str, **_: Any) -> None:
    """Hear that a key is about to be saved or deleted."""
    begin_change([name_key(instance.prefix)], using)


def begin_user(instance: User, using: str, **_: Any) -> None:
    """Hear that a user is about to be saved or deleted, who is kept with each of their keys. One query."""
    if get_cache() is None or instance._state.adding:
        return
    prefixes = ApiKey.objects.using(using).filter(user=instance).values_list("prefix", flat=True)
    begin_change([f"user:{instance.pk}", *map(name_key, prefixes)], using)


def end_saving(using: str, **_: Any) -> None:
    """Hear that it is done."""
    end_change(using)
