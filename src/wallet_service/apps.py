"""The Django app of the project itself."""

from django.apps import AppConfig


class WalletServiceConfig(AppConfig):
    name = "wallet_service"
    verbose_name = "Wallet service"

    def ready(self) -> None:
        from . import celery  # noqa: F401 - makes ours the app that tasks are sent through
