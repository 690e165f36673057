"""The Django app."""

from django.apps import AppConfig
from django.core.checks import register
from django.db.backends.signals import connection_created


class DjangoWalletsConfig(AppConfig):
    name = "dj_wallet"
    verbose_name = "Django Wallets"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from .adoption.audit import check_openings
        from .audit import check_lots, check_transactions
        from .checks import check_settings
        from .hold_audit import check_hold_steps, check_locked_money
        from .ledger.audit import CHECKS
        from .ledger.store import prepare_connection
        from .mixins import install_mixin_class

        register(check_settings)
        install_mixin_class()
        connection_created.connect(prepare_connection, dispatch_uid="dj_wallet.prepare_connection")
        for check in (
            check_transactions,
            check_lots,
            check_openings,
            check_locked_money,
            check_hold_steps,
        ):
            if check not in CHECKS:
                CHECKS.append(check)
