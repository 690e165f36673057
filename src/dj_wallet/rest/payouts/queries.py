"""Whose payouts a user may see: those of their own wallets. Staff read all."""

from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404

from dj_wallet.identity.models import User
from dj_wallet.models import Wallet
from dj_wallet.payouts.models import Payout, RecurringPayout


def list_payouts(user: User) -> QuerySet[Payout]:
    """Return the payouts that the user may see, with what their answers show."""
    payouts = Payout.objects.select_related("transaction__wallet", "recurring")
    return payouts if user.is_staff else payouts.filter(transaction__wallet__in=_own(user))


def get_payout(user: User, uuid: UUID) -> Payout:
    """Return a payout that the user may see.

    :raises Http404: there is none
    """
    payout = list_payouts(user).filter(uuid=uuid).first()
    if payout is None:
        raise Http404
    return payout


def get_own_payout(user: User, uuid: UUID) -> Payout:
    """Return a payout of the user's own wallets.

    :raises Http404: there is none
    """
    payout = list_payouts(user).filter(uuid=uuid, transaction__wallet__in=_own(user)).first()
    if payout is None:
        raise Http404
    return payout


def list_recurring_payouts(user: User) -> QuerySet[RecurringPayout]:
    """Return the plans that the user may see."""
    plans = RecurringPayout.objects.select_related("wallet")
    return plans if user.is_staff else plans.filter(wallet__in=_own(user))


def get_recurring_payout(user: User, uuid: UUID, *, is_own: bool = False) -> RecurringPayout:
    """Return a plan that the user may see, or one of the user's own.

    :raises Http404: there is none
    """
    plans = list_recurring_payouts(user).filter(uuid=uuid)
    plan = (plans.filter(wallet__in=_own(user)) if is_own else plans).first()
    if plan is None:
        raise Http404
    return plan


def _own(user: User) -> QuerySet[Wallet]:
    return Wallet.objects.held_by(user)
