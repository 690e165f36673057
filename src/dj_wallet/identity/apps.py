"""The Django app."""

from django.apps import AppConfig
from django.conf import settings


class IdentityConfig(AppConfig):
    name = "dj_wallet.identity"
    label = "dj_wallet_identity"
    verbose_name = "Identity"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import audit  # noqa: F401 - its receivers hear what allauth announces
        from .issuer import support_devices

        support_devices()
        if getattr(settings, "WALLET_CACHE_SECONDS", 0):
            from .kept import register

            register()
