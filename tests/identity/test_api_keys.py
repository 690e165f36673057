"""API keys: made once, shown once, found by one query."""

from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from dj_wallet.identity.access import DEFAULT_KEY_SCOPES, SCOPES
from dj_wallet.identity.errors import AddressesInvalid, KeyEnded, ScopesInvalid
from dj_wallet.identity.key_text import hash_secret, parse_key_text
from dj_wallet.identity.models import ApiKey, AuditEvent
from dj_wallet.identity.queries import find_api_key, is_allowed_from
from dj_wallet.identity.services import (
    create_api_key,
    record_use,
    revoke_api_key,
    roll_api_key,
)


def test_a_user_has_a_uuid_and_wallets(alice):
    alice.deposit(5)
    assert isinstance(alice.pk, UUID)
    assert alice.balance == 5
    assert alice.wallet.holder_id == alice.pk


def test_the_text_has_a_prefix_and_256_random_bits(alice):
    api_key, text = create_api_key(user=alice, name="shop")
    start, prefix, secret = text.split("_", 2)
    assert (start, prefix) == ("wk", api_key.prefix)
    assert len(secret) == 43
    assert create_api_key(user=alice, name="shop")[1] != text


def test_the_secret_is_not_kept(alice):
    api_key, text = create_api_key(user=alice, name="shop")
    secret = text.split("_", 2)[2]
    assert all(secret not in str(value) for value in vars(api_key).values())
    assert api_key.secret_hash == hash_secret(secret)
    assert secret not in str(api_key)


def test_a_key_is_found_with_its_user_by_one_query(alice, django_assert_num_queries):
    api_key, text = create_api_key(user=alice, name="shop")
    with django_assert_num_queries(1):
        found = find_api_key(text)
        assert found == api_key
        assert found.user == alice


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wk_",
        "wk__",
        "x" * 60,
        "wk_aaaaaaaaaaaa_" + "\u00e9" * 43,
        "wk_aaaaaaaaaaa\x00_" + "a" * 43,
    ],
)
def test_what_cannot_be_a_key_costs_no_query(db, django_assert_num_queries, text):
    with django_assert_num_queries(0):
        assert find_api_key(text) is None


def test_the_secret_must_match(alice):
    _, text = create_api_key(user=alice, name="a")
    _, other = create_api_key(user=alice, name="b")
    mixed = "_".join([*text.split("_")[:2], other.split("_", 2)[2]])
    assert parse_key_text(mixed) is not None
    assert find_api_key(mixed) is None


def test_revoking_twice_keeps_the_first_time(alice):
    api_key, text = create_api_key(user=alice, name="shop")
    revoke_api_key(api_key)
    first = ApiKey.objects.get().revoked_at
    revoke_api_key(ApiKey.objects.get())
    assert ApiKey.objects.get().revoked_at == first
    assert find_api_key(text) is None


def test_use_is_recorded_at_most_once_a_minute(alice, django_assert_num_queries):
    api_key, text = create_api_key(user=alice, name="shop")
    record_use(api_key)
    first = ApiKey.objects.get().last_used_at
    with django_assert_num_queries(1):
        record_use(find_api_key(text))
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    record_use(find_api_key(text))
    assert timezone.now() - ApiKey.objects.get().last_used_at < timedelta(seconds=30)


# Scopes


def test_a_key_gets_the_usual_scopes_and_none_for_deposits(alice):
    api_key, _ = create_api_key(user=alice, name="shop")
    assert set(api_key.scopes) == DEFAULT_KEY_SCOPES
    assert not {"deposits:write", "keys:write", "internal"} & set(api_key.scopes)


@pytest.mark.parametrize("scope", ["admin", "*", "wallets", "wallets:all", "internal:nothing", ""])
def test_there_are_no_other_scopes(alice, scope):
    with pytest.raises(ScopesInvalid):
        create_api_key(user=alice, name="shop", scopes=["wallets:read", scope])
    assert not ApiKey.objects.exists()


def test_keys_that_are_older_than_scopes_do_what_they_did_but_for_deposits(alice):
    old, _ = create_api_key(user=alice, name="old", scopes=[])
    new, _ = create_api_key(user=alice, name="new", scopes=["wallets:read"])
    migration = import_module("dj_wallet.identity.migrations.0003_people_and_programs")
    migration.give_scopes(apps, SimpleNamespace(connection=connection))
    old.refresh_from_db()
    new.refresh_from_db()
    assert {"wallets:write", "transfers:write", "withdrawals:write"} <= set(old.scopes) <= SCOPES
    assert not {"deposits:write", "keys:write"} & set(old.scopes)
    assert new.scopes == ["wallets:read"]


# Addresses


@pytest.mark.parametrize(
    ("networks", "address", "expected"),
    [
        ([], "203.0.113.9", True),
        ([], None, True),
        (["203.0.113.9"], "203.0.113.9", True),
        (["203.0.113.9"], "203.0.113.8", False),
        (["10.0.0.0/8"], "10.255.1.1", True),
        (["10.0.0.0/8"], "::ffff:10.1.1.1", True),
        (["2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "10.0.0.1", False),
        (["10.0.0.0/8"], None, False),
    ],
)
def test_a_key_is_for_its_addresses(networks, address, expected):
    assert is_allowed_from(networks, address) is expected


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "localhost", "10.0.0.0/33", "", "300.1.1.1"])
def test_what_is_no_address_is_refused(alice, entry):
    with pytest.raises(AddressesInvalid):
        create_api_key(user=alice, name="shop", allowed_addresses=[entry])
    assert not ApiKey.objects.exists()


# Rolling


def test_a_rolled_key_has_a_successor_and_overlaps_with_it(alice):
    old, old_text = create_api_key(
        user=alice, name="shop", scopes=["wallets:read"], allowed_addresses=["10.0.0.0/8"]
    )
    new, new_text = roll_api_key(old, overlap=timedelta(hours=1))
    assert (new.replaces, new.name, new.scopes) == (old, "shop", ["wallets:read"])
    assert new.allowed_addresses == ["10.0.0.0/8"]
    assert find_api_key(old_text) == old
    assert find_api_key(new_text) == new
    old.refresh_from_db()
    assert timedelta(minutes=59) < old.expires_at - timezone.now() <= timedelta(hours=1)


def test_without_an_overlap_the_old_key_ends_at_once(alice):
    old, text = create_api_key(user=alice, name="shop")
    roll_api_key(old, overlap=timedelta())
    assert find_api_key(text) is None


def test_rolling_does_not_prolong_the_old_key(alice):
    end = timezone.now() + timedelta(minutes=5)
    old, _ = create_api_key(user=alice, name="shop", expires_at=end)
    new, _ = roll_api_key(old)
    old.refresh_from_db()
    assert old.expires_at == end
    assert timedelta(minutes=4) < new.expires_at - timezone.now() < timedelta(minutes=6)


def test_a_key_has_one_successor(alice):
    old, _ = create_api_key(user=alice, name="shop")
    roll_api_key(old)
    with pytest.raises(KeyEnded):
        roll_api_key(ApiKey.objects.get(pk=old.pk))
    assert ApiKey.objects.count() == 2


def test_a_revoked_key_is_not_rolled(alice):
    old, _ = create_api_key(user=alice, name="shop")
    revoke_api_key(old)
    with pytest.raises(KeyEnded):
        roll_api_key(old)


def test_a_rolled_signing_key_signs(alice):
    old, _ = create_api_key(user=alice, name="shop", is_signing=True)
    assert roll_api_key(old)[0].is_signing


# What happened


def test_what_happens_to_keys_is_written_down(alice):
    api_key, _ = create_api_key(user=alice, name="shop")
    new, _ = roll_api_key(api_key)
    revoke_api_key(new)
    revoke_api_key(new)
    events = AuditEvent.objects.order_by("pk").values_list("event", "details__key")
    assert list(events) == [
        ("key_created", api_key.prefix),
        ("key_created", new.prefix),
        ("key_rolled", api_key.prefix),
        ("key_revoked", new.prefix),
    ]


@pytest.mark.parametrize("statement", ["update {} set event = 'signed_in'", "delete from {}"])
def test_what_happened_is_not_changed(alice, statement):
    create_api_key(user=alice, name="shop")
    with pytest.raises(DatabaseError, match="written once"), transaction.atomic():
        connection.cursor().execute(statement.format(AuditEvent._meta.db_table))
    assert AuditEvent.objects.get().event == "key_created"
