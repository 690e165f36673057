"""API keys: made once, shown once, found by one query."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from dj_wallet.identity.key_text import hash_secret, parse_key_text
from dj_wallet.identity.models import ApiKey, User
from dj_wallet.identity.queries import find_api_key
from dj_wallet.identity.services import create_api_key, record_use, revoke_api_key


@pytest.fixture
def alice(db) -> User:
    return User.objects.create(username="alice")


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
