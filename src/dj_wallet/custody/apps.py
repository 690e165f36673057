"""The Django app."""

from django.apps import AppConfig


class CustodyConfig(AppConfig):
    name = "dj_wallet.custody"
    label = "dj_wallet_custody"
    verbose_name = "Coins in custody"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from dj_wallet.ledger.audit import CHECKS
        from dj_wallet.services.common import PENDING_GUARDS

        from .audit import check_chains, check_withdrawals
        from .services.withdrawals import refuse_other_hands

        if refuse_other_hands not in PENDING_GUARDS:
            PENDING_GUARDS.append(refuse_other_hands)
            CHECKS.extend([check_withdrawals, check_chains])
