"""What a movement writes beside its posting, on the fast path and on the way that works for any model."""

import pytest
from django.db.models.signals import post_save

from dj_wallet.models import Transaction, Transfer

pytestmark = pytest.mark.django_db

OWN = {"id", "uuid", "entry_id", "created_at", "updated_at", "withdraw_id", "deposit_id"}


def list_rows(model):
    """Return the stored rows of a model, without what differs between any two."""
    names = [field.attname for field in model._meta.concrete_fields if field.attname not in OWN]
    return list(model.objects.order_by("pk").values(*names))


def move_and_list(alice, bob):
    Transfer.objects.all().delete()
    Transaction.objects.all().delete()
    alice.deposit("12.5", meta={"from": "a friend"})
    alice.withdraw(1)
    transfer = alice.transfer(bob, "2.25", meta={"order": 7})
    assert transfer.withdraw_id == transfer.withdraw.pk
    assert transfer.deposit_id == transfer.deposit.pk
    assert transfer.withdraw.entry_id == transfer.deposit.entry_id == transfer.entry_id
    transfer.refresh_from_db()
    assert transfer.withdraw.type == "withdraw"
    return list_rows(Transaction), list_rows(Transfer)


def test_both_ways_write_the_same_rows(alice, bob):
    seen = []

    def see(sender, instance, created, **kwargs):
        seen.append((sender, created))

    fast = move_and_list(alice, bob)
    for model in (Transaction, Transfer):
        post_save.connect(see, sender=model)
    try:
        slow = move_and_list(alice, bob)
    finally:
        for model in (Transaction, Transfer):
            post_save.disconnect(see, sender=model)
    assert seen == [(Transaction, True)] * 4 + [(Transfer, True)]
    assert slow == fast


def test_what_is_returned_is_what_is_stored(alice, bob):
    alice.deposit(10)
    transfer = alice.transfer(bob, 3)
    for record in (transfer, transfer.withdraw, transfer.deposit):
        stored = type(record).objects.get(pk=record.pk)
        for field in record._meta.concrete_fields:
            assert getattr(record, field.attname) == getattr(stored, field.attname), field
