"""The Django app."""

from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "dj_wallet.events"
    label = "dj_wallet_events"
    verbose_name = "Events"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import locked_money

        locked_money.connect()
