"""The Django app."""

from django.apps import AppConfig


class PayoutsConfig(AppConfig):
    name = "dj_wallet.payouts"
    label = "dj_wallet_payouts"
    verbose_name = "Bank payouts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from dj_wallet.ledger.audit import CHECKS
        from dj_wallet.services.common import PENDING_GUARDS

        from .audit import check_held_money
        from .services import refuse_other_hands

        if refuse_other_hands not in PENDING_GUARDS:
            PENDING_GUARDS.append(refuse_other_hands)
            CHECKS.append(check_held_money)
