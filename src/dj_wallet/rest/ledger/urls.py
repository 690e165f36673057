"""The paths of the ledger service."""

from dj_wallet.rest.routes import either

from .views import (
    AccountDepositView,
    AccountsView,
    AccountTransferView,
    AccountView,
    AccountWithdrawalView,
)

urlpatterns = [
    *either("v1/accounts", AccountsView, "accounts"),
    *either("v1/accounts/<uuid:uuid>", AccountView, "account"),
    *either("v1/transactions/deposit", AccountDepositView, "account-deposit"),
    *either("v1/transactions/withdraw", AccountWithdrawalView, "account-withdraw"),
    *either("v1/transactions/transfer", AccountTransferView, "account-transfer"),
]
