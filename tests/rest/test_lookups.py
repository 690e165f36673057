"""`find_by` finds what the ORM finds, faster."""

from uuid import UUID, uuid4

import pytest

from dj_wallet.identity.models import ApiKey
from dj_wallet.identity.services import create_api_key
from dj_wallet.lookups import find_by
from dj_wallet.models import Wallet


def show(instance):
    return {name: value for name, value in vars(instance).items() if name != "_state"}


def test_wallets_are_the_same_as_the_orms(wallet, bobs_wallet, alice):
    alice.create_wallet("third", color="red")
    wallet.freeze("why not")
    uuids = [wallet.uuid, bobs_wallet.uuid, uuid4()]
    found = find_by(Wallet, "uuid", uuids)
    expected = Wallet.objects.filter(uuid__in=uuids)
    assert sorted(map(show, found), key=str) == sorted(map(show, expected), key=str)
    assert len(found) == 2


def test_related_objects_come_along(alice, django_assert_num_queries):
    api_key, _ = create_api_key(user=alice, name="a")
    expected = ApiKey.objects.select_related("user").get()
    with django_assert_num_queries(1):
        (found,) = find_by(ApiKey, "prefix", [api_key.prefix], related="user")
        assert found.user.username == "alice"
    assert show(found.user) == show(expected.user)
    found._state.fields_cache.clear()
    assert show(found) == show(expected)


def test_what_was_found_can_be_saved(wallet):
    (found,) = find_by(Wallet, "uuid", [wallet.uuid])
    found.slug = "renamed"
    found.save()
    assert Wallet.objects.get().slug == "renamed"
    assert Wallet.objects.get().balance == 100


@pytest.mark.parametrize("values", [[], [UUID(int=7)]])
def test_nothing_is_found_where_nothing_is(wallet, values):
    assert find_by(Wallet, "uuid", values) == []
