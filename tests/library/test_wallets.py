"""Wallets of holders of every kind: found, created, saved, frozen."""

import uuid

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils.functional import SimpleLazyObject

from dj_wallet.bulk import DepositItem, deposit_many
from dj_wallet.cart import Cart
from dj_wallet.exceptions import InsufficientFunds, LedgerReadOnly, WalletException, WalletFrozen
from dj_wallet.ledger.models import Account, Asset, Posting
from dj_wallet.models import PurchaseLine, Transaction, Wallet
from dj_wallet.services import PurchaseService, WalletService
from tests.ledger.worlds import undone
from tests.testapp.models import Course, Organization, Person, Project, Shop, Team

pytestmark = pytest.mark.django_db

HOLDERS = {
    "integer": lambda: Person.objects.create(name="x"),
    "big integer": lambda: Team.objects.create(id=2**62),
    "negative": lambda: Team.objects.create(id=-5),
    "uuid": Organization.objects.create,
    "string": lambda: Project.objects.create(code="a/b c é"),
    "number as a string": lambda: Project.objects.create(code="007"),
    "longest string": lambda: Project.objects.create(code="x" * 200),
}


@pytest.fixture(params=HOLDERS.values(), ids=HOLDERS.keys())
def holder(request, db):
    return request.param()


def reload(holder):
    return type(holder).objects.get(pk=holder.pk)


# Holders


def test_the_holder_of_a_wallet_is_known_by_its_own_key(holder):
    for wallet in (holder.wallet, Wallet.objects.get()):
        assert wallet.holder_id == holder.pk
        assert type(wallet.holder_id) is type(holder.pk)
        assert wallet.holder == holder


def test_a_wallet_is_found_by_its_holder(holder):
    wallet = holder.wallet
    holder_type = ContentType.objects.get_for_model(holder)
    found = Wallet.objects.filter(holder_type=holder_type, holder_id=holder.pk, slug="default")
    assert list(found) == [wallet]
    assert Wallet.objects.filter(holder_id__in=[holder.pk]).get() == wallet
    assert Wallet.objects.held_by(holder).get() == wallet
    assert Wallet.objects.get_wallet(holder) == wallet


def test_verbs_work_for_every_kind_of_holder(holder, bob):
    holder.deposit(10)
    holder.transfer(bob, 4)
    bob.transfer(reload(holder), 1)
    assert (holder.balance, bob.balance) == (7, 3)
    record = Transaction.objects.first()
    assert record.payable == holder.wallet


def test_the_holders_of_many_wallets_are_fetched_together(django_assert_num_queries):
    holders = [make() for make in HOLDERS.values()] + [
        Person.objects.create(name=str(number)) for number in range(5)
    ]
    for holder in holders:
        assert holder.wallet
    ContentType.objects.clear_cache()
    types = len({type(holder) for holder in holders})
    wallets = list(Wallet.objects.prefetch_related("holder"))
    assert {wallet.holder for wallet in wallets} == set(holders)
    with django_assert_num_queries(1 + types):
        assert [w.holder.pk for w in Wallet.objects.prefetch_related("holder")]


def test_holders_of_different_kinds_with_the_same_key_have_wallets_of_their_own(db):
    team, project = Team.objects.create(id=1), Project.objects.create(code="1")
    person = Person.objects.create(pk=1, name="one")
    for amount, holder in enumerate((team, project, person), 1):
        holder.deposit(amount)
    assert [team.balance, project.balance, person.balance] == [1, 2, 3]


def test_a_wallet_without_its_holder_keeps_the_money(alice):
    alice.deposit(5)
    pk = alice.pk
    alice.delete()
    wallet = Wallet.objects.get()
    assert (wallet.holder, wallet.holder_id, wallet.balance) == (None, pk, 5)


# Finding and creating


def test_the_first_use_creates_one_wallet(alice):
    assert Wallet.objects.count() == 0
    wallet = alice.wallet
    assert Wallet.objects.count() == 1
    assert alice.wallet == wallet
    assert reload(alice).get_wallet() == wallet
    assert Wallet.objects.count() == 1
    assert (wallet.slug, wallet.balance, wallet.is_frozen) == ("default", 0, False)


def test_a_deposit_creates_no_wallet_but_the_holders(alice):
    alice.deposit(5)
    assert Wallet.objects.count() == 1


def test_wallets_are_told_apart_by_slug(alice):
    savings = alice.get_wallet("savings")
    savings.deposit(5)
    assert alice.wallet.balance == 0
    assert alice.get_wallet("savings").balance == 5
    assert Wallet.objects.count() == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda holder: holder.has_wallet(),
        lambda holder: holder.has_wallet("typo"),
        lambda holder: holder.is_wallet_frozen(),
        lambda holder: holder.is_wallet_frozen("typo"),
        Wallet.objects.get_wallet,
    ],
)
def test_asking_creates_no_wallet(alice, ask):
    assert not ask(alice)
    assert Wallet.objects.count() == 0


def test_reading_a_balance_writes_nothing_once_there_is_a_wallet(alice, django_assert_num_queries):
    alice.deposit(5)
    with django_assert_num_queries(1) as captured:
        assert alice.balance == 5
    assert captured[0]["sql"].startswith("SELECT")


def test_a_wallet_that_exists_is_had(alice):
    alice.create_wallet("savings")
    assert alice.has_wallet("savings")
    assert not alice.has_wallet()


def test_a_slug_is_used_once_by_a_holder(alice, bob):
    alice.create_wallet("savings")
    with pytest.raises(IntegrityError), transaction.atomic():
        alice.create_wallet("savings")
    bob.create_wallet("savings")
    assert Wallet.objects.count() == 2


def test_a_refused_slug_leaves_the_callers_transaction_usable(alice):
    alice.create_wallet("savings")
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            alice.create_wallet("savings")
        alice.deposit(5)
    assert alice.balance == 5
    assert Account.objects.filter(kind="wallet").count() == 2


def test_a_wallet_keeps_what_it_was_created_with(alice):
    wallet = alice.create_wallet("usd", currency="EUR", description="for lunch")
    wallet = Wallet.objects.get(pk=wallet.pk)
    assert wallet.meta == {"currency": "EUR", "description": "for lunch"}
    assert (wallet.currency, wallet.asset_id) == ("EUR", "EUR")


def test_a_wallet_counts_the_default_currency_unless_told(alice):
    assert (alice.wallet.currency, alice.wallet.decimal_places) == ("USD", 8)


def test_a_wallet_has_the_digits_of_its_asset(alice):
    Asset.objects.create(code="JPY", decimal_places=0)
    wallet = alice.create_wallet("yen", currency="JPY")
    wallet.deposit(100)
    with pytest.raises(WalletException):
        wallet.deposit("0.5")
    assert wallet.balance == 100


@pytest.mark.parametrize("currency", ["", "x" * 33, "\x00", 5])
def test_a_currency_that_cannot_be_is_refused(alice, currency):
    with pytest.raises(WalletException):
        alice.create_wallet("x", currency=currency)
    assert Wallet.objects.count() == 0
    assert Asset.objects.count() == 0


def test_a_wallet_without_meta_has_a_currency(alice):
    wallet = alice.wallet
    wallet.meta = None
    wallet.save()
    assert Wallet.objects.get().currency == "USD"


def test_the_uuid_of_a_wallet_is_random(alice):
    assert isinstance(alice.wallet.uuid, uuid.UUID)
    assert alice.wallet.uuid.version == 4


def test_a_wallet_shows_slug_balance_and_whether_it_is_frozen(alice):
    alice.deposit(5)
    assert str(alice.wallet) == "default (5.00000000)"
    alice.freeze_wallet()
    assert str(alice.wallet) == "default (5.00000000) [FROZEN]"


def test_wallets_can_be_filtered_added_up_and_locked(alice, bob):
    alice.deposit(5)
    bob.deposit(7)
    assert Wallet.objects.filter(balance__gt=5).get().holder == bob
    assert Wallet.objects.aggregate(total=Sum("balance"))["total"] == 12
    assert Wallet.objects.order_by("-balance").values_list("balance", flat=True)[0] == 7
    with transaction.atomic():
        assert Wallet.objects.select_for_update().get(pk=bob.wallet.pk).balance == 7
        assert Wallet.objects.get_wallet(bob, lock=True).balance == 7


def test_our_own_accounts_are_no_wallets(alice):
    alice.deposit(5)
    assert Account.objects.count() == 2
    assert Wallet.objects.count() == 1


# Wallets that were rolled back


def test_a_wallet_that_was_rolled_back_is_made_anew(alice, bob):
    with undone():
        alice.deposit(5)
        bob.deposit(5)
    assert Wallet.objects.count() == 0
    alice.deposit(7)
    assert (alice.balance, bob.balance) == (7, 0)


def test_a_transfer_between_wallets_that_were_rolled_back_makes_them_anew(alice, bob):
    with undone():
        alice.deposit(5)
        alice.transfer(bob, 5)
    with pytest.raises(InsufficientFunds):
        alice.transfer(bob, 1)
    alice.deposit(5)
    alice.transfer(bob, 1)
    assert (alice.balance, bob.balance) == (4, 1)


def test_a_payment_to_a_shop_whose_wallet_was_rolled_back_makes_it_anew(alice):
    shop = Shop.objects.create(price=5)
    with undone():
        alice.deposit(5)
        alice.pay(shop)
    alice.deposit(15)
    alice.pay(shop)
    assert (alice.balance, shop.balance) == (10, 5)


def test_a_cart_for_shops_whose_wallets_were_rolled_back_makes_them_anew(alice, bob):
    shop = Shop.objects.create(price=5)
    alice.deposit(10)
    with undone():
        alice.pay(shop)
        bob.deposit(1)
    cart = Cart().with_item(shop).with_item(Course.objects.create(price=2), receiver=bob)
    alice.pay_cart(cart)
    assert (alice.balance, shop.balance, bob.balance) == (3, 5, 2)


def test_a_wallet_that_was_deleted_while_unused_is_made_anew(alice):
    alice.wallet.delete()
    alice.deposit(5)
    assert alice.balance == 5


def test_what_a_caller_does_to_a_wallet_object_does_not_change_where_money_goes(alice, bob):
    wallet = alice.wallet
    wallet.pk, wallet.id, wallet.asset_id = bob.wallet.pk, bob.wallet.pk, "EUR"
    alice.deposit(5)
    assert (alice.balance, bob.balance) == (5, 0)


def test_a_remembered_wallet_never_becomes_that_of_somebody_else(alice, bob):
    """SQLite gives the number of a wallet that was rolled back to the next one."""
    with undone():
        assert alice.wallet.balance == 0
    assert bob.wallet.balance == 0
    alice.deposit(5)
    assert (alice.balance, bob.balance) == (5, 0)
    alice.transfer(bob, 2)
    assert (alice.balance, bob.balance) == (3, 2)


# Stale objects


def test_saving_a_stale_wallet_destroys_no_money(alice):
    stale = alice.wallet
    alice.deposit(100)
    stale.meta = {"note": "x"}
    stale.save()
    wallet = Wallet.objects.get()
    assert (wallet.balance, wallet.version, wallet.meta) == (100, 1, {"note": "x"})


def test_saving_a_stale_wallet_does_not_unfreeze_it(alice):
    stale = alice.wallet
    alice.freeze_wallet(reason="suspicion")
    stale.save()
    assert alice.is_wallet_frozen()
    with pytest.raises(WalletFrozen):
        alice.deposit(1)


def test_saving_a_stale_wallet_does_not_change_its_limit(alice):
    stale = alice.wallet
    Wallet.objects.update(overdraft_limit=50)
    stale.save()
    assert Wallet.objects.get().overdraft_limit == 50


@pytest.mark.parametrize("column", ["balance", "locked_balance", "pending_balance", "version"])
def test_a_balance_cannot_be_saved_by_name(alice, column, snapshot):
    wallet = alice.wallet
    before = snapshot()
    setattr(wallet, column, 1000)
    with pytest.raises(LedgerReadOnly):
        wallet.save(update_fields=[column])
    with pytest.raises(LedgerReadOnly):
        wallet.save(update_fields=["meta", column])
    wallet.save()
    assert snapshot() == before


def test_a_new_wallet_starts_empty(alice):
    with pytest.raises(LedgerReadOnly):
        Wallet(holder=alice, slug="rich", balance=1000).save()
    assert Wallet.objects.count() == 0


def test_a_limit_can_be_saved_by_name(alice):
    wallet = alice.wallet
    wallet.overdraft_limit = 50
    wallet.save(update_fields=["overdraft_limit"])
    alice.withdraw(50)
    assert alice.balance == -50
    with pytest.raises(InsufficientFunds):
        alice.withdraw("0.01")


def test_the_wallet_that_was_passed_in_is_fresh_afterwards(alice, bob):
    one, other = alice.wallet, bob.wallet
    WalletService.deposit(one, 10)
    assert (one.balance, one.version) == (10, 1)
    one.transfer(other, 4)
    assert (one.balance, other.balance) == (6, 4)
    WalletService.withdraw(one, 1)
    assert one.balance == alice.wallet.balance == 5
    assert one.version == alice.wallet.version == 3


def test_two_objects_for_one_wallet_each_show_what_they_were_told(alice):
    one, other = alice.wallet, alice.wallet
    one.deposit(10)
    other.deposit(5)
    assert other.balance == 15
    one.refresh_from_db()
    assert one.balance == 15


# Freezing


def test_a_frozen_wallet_says_since_when_and_why(alice):
    wallet = alice.freeze_wallet(reason="suspicion")
    found = Wallet.objects.get()
    assert found.is_frozen
    assert found.frozen_reason == "suspicion"
    assert found.frozen_at == wallet.frozen_at is not None
    alice.unfreeze_wallet()
    found.refresh_from_db()
    assert (found.is_frozen, found.frozen_reason, found.frozen_at) == (False, "", None)


@pytest.mark.parametrize(
    "verb",
    [
        lambda me, other: me.deposit(1),
        lambda me, other: me.withdraw(1),
        lambda me, other: me.force_withdraw(1),
        lambda me, other: me.deposit(1, confirmed=False),
        lambda me, other: me.withdraw(1, confirmed=False),
        lambda me, other: me.transfer(other, 1),
        lambda me, other: other.transfer(me, 1),
    ],
)
def test_a_frozen_wallet_takes_part_in_nothing(alice, bob, verb, snapshot):
    alice.deposit(10)
    bob.deposit(10)
    alice.freeze_wallet()
    before = snapshot()
    with pytest.raises(WalletFrozen, match="frozen"):
        verb(alice, bob)
    assert snapshot() == before
    alice.unfreeze_wallet()
    verb(alice, bob)


def test_freezing_one_wallet_leaves_the_others(alice):
    savings = alice.get_wallet("savings")
    alice.freeze_wallet("savings")
    alice.deposit(5)
    with pytest.raises(WalletFrozen):
        savings.deposit(5)
    assert alice.balance == 5


# The verbs of a wallet


def test_a_wallet_has_the_verbs_of_its_holder(alice):
    savings = alice.create_wallet("savings")
    alice.wallet.deposit(10, {"note": "x"})
    alice.wallet.transfer(savings, 4)
    savings.withdraw(1)
    assert (alice.balance, alice.get_wallet("savings").balance) == (6, 3)
    assert savings.transactions.count() == 2


def test_the_pending_transactions_of_a_wallet_are_listed(alice):
    alice.deposit(5)
    pending = alice.withdraw(1, confirmed=False)
    assert list(alice.get_pending_transactions()) == [pending]


def test_an_unsaved_holder_has_no_wallet(db):
    with pytest.raises((WalletException, IntegrityError, ValueError)), transaction.atomic():
        Person(name="nobody").deposit(5)
    assert Posting.objects.count() == 0
    assert Wallet.objects.count() == 0


def test_a_wallet_created_in_a_transaction_that_is_rolled_back_never_was(alice):
    with undone():
        alice.create_wallet("savings", currency="EUR")
    assert Wallet.objects.count() == Account.objects.count() == 0


def test_saving_a_wallet_never_changes_what_it_counts(alice):
    wallet = alice.get_wallet()
    Asset.objects.create(code="EUR", decimal_places=2)
    wallet.asset_id, wallet.decimal_places = "EUR", 2
    wallet.save()
    fresh = alice.get_wallet()
    assert (fresh.asset_id, fresh.decimal_places) == ("USD", 8)
    with pytest.raises(LedgerReadOnly):
        wallet.save(update_fields=["asset"])


# `request.user` is such an object until somebody looks at it, and after.


@pytest.mark.parametrize("is_looked_at", [False, True])
def test_a_lazy_user_moves_money_as_the_user_does(alice, bob, is_looked_at):
    def lazy(person):
        user = SimpleLazyObject(lambda: Person.objects.get(pk=person.pk))
        if is_looked_at:
            assert user.name
        return user

    shop = Shop.objects.create(price=2)
    lazy(alice).deposit(100)
    alice.transfer(lazy(bob), 10)
    lazy(alice).transfer(lazy(bob), 10)
    lazy(bob).pay(shop)
    PurchaseService.pay(lazy(bob), shop)
    PurchaseService.pay_cart(lazy(bob), Cart().with_items([shop, shop]))
    PurchaseService.gift(lazy(alice), lazy(bob), shop)
    deposit_many([DepositItem(lazy(alice), 5), DepositItem(lazy(bob), 5), DepositItem(alice, 5)])
    assert (alice.balance, bob.balance, shop.balance) == (88, 17, 10)
    assert Wallet.objects.held_by(lazy(alice)).count() == 1
    assert PurchaseLine.objects.of(lazy(bob), shop).count() == 5
