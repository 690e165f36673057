"""The Django app."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ExchangesConfig(AppConfig):
    name = "dj_wallet.exchanges"
    label = "dj_wallet_exchanges"
    verbose_name = "Exchange accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, metrics

        checks.register()
        metrics.watch_requests()
        post_migrate.connect(list_supported, sender=self)


def list_supported(sender: Any, using: str, **kwargs: Any) -> None:
    """Have a row for each venue with an adapter of its own, as the code knows it."""
    from .services.supported import ensure_supported_exchanges

    ensure_supported_exchanges(using=using)
