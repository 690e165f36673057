"""The Django app."""

from django.apps import AppConfig


class PayoutsConfig(AppConfig):
    name = "dj_wallet.payouts"
    label = "dj_wallet_payouts"
    verbose_name = "Bank payouts"
    default_auto_field = "django.db.models.BigAutoField"
