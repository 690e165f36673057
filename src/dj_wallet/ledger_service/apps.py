"""The Django app."""

from django.apps import AppConfig


class LedgerServiceConfig(AppConfig):
    name = "dj_wallet.ledger_service"
    label = "dj_wallet_ledger_service"
    verbose_name = "Ledger service"
    default_auto_field = "django.db.models.BigAutoField"
