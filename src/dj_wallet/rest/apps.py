"""The Django app."""

from django.apps import AppConfig


class RestConfig(AppConfig):
    name = "dj_wallet.rest"
    label = "dj_wallet_rest"
    verbose_name = "REST interface"

    def ready(self) -> None:
        from . import schema  # noqa: F401 - drf-spectacular finds its extensions by their being imported
