"""The mixin of the README of release 0.1.0."""

from dj_wallet.mixins import WalletMixin

CALLS: list[str] = []


class MyCustomMixin(WalletMixin):
    def deposit(self, amount, meta=None, confirmed=True):
        CALLS.append(f"User is depositing {amount}")
        return super().deposit(amount, meta, confirmed)
