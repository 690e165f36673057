"""Custody's paths, below /api/v1/wallet/."""

from dj_wallet.rest.routes import either

from . import views

urlpatterns = [
    *either("api/v1/wallet/balance/", views.BalanceView, "coin-balance"),
    *either("api/v1/wallet/deposit-address/", views.DepositAddressView, "deposit-address"),
    *either("api/v1/wallet/deposit-address/qr/", views.DepositCodeView, "deposit-address-qr"),
    *either(
        "api/v1/wallet/deposit-address/rotate/", views.RotateAddressView, "deposit-address-rotate"
    ),
    *either("api/v1/wallet/withdraw/", views.WithdrawCoinsView, "coin-withdraw"),
    *either("api/v1/wallet/withdrawals/", views.WithdrawalsView, "coin-withdrawals"),
    *either("api/v1/wallet/withdrawals/<uuid:uuid>/", views.WithdrawalView, "coin-withdrawal"),
    *either(
        "api/v1/wallet/withdrawals/<uuid:uuid>/cancel/",
        views.CancelWithdrawalView,
        "coin-withdrawal-cancel",
    ),
    *either(
        "api/v1/wallet/withdrawal-addresses/", views.AllowedAddressesView, "withdrawal-addresses"
    ),
    *either("api/v1/wallet/fee-quote/", views.FeeQuoteView, "fee-quote"),
    *either("api/v1/wallet/history/", views.HistoryView, "coin-history"),
    *either("api/v1/wallet/internal/chains/", views.ChainsView, "internal-chains"),
    *either(
        "api/v1/wallet/internal/withdrawals/<uuid:uuid>/approve/",
        views.ApproveWithdrawalView,
        "internal-withdrawal-approve",
    ),
]
