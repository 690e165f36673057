"""The Django app."""

from django.apps import AppConfig
from django.conf import settings


class RestConfig(AppConfig):
    name = "dj_wallet.rest"
    label = "dj_wallet_rest"
    verbose_name = "REST interface"

    def ready(self) -> None:
        from . import schema  # noqa: F401 - drf-spectacular finds its extensions by their being imported
        from .wallet_cache import register

        if getattr(settings, "WALLET_CACHE_SECONDS", 0):
            register()
