"""The paths of seed 000's wallets."""

from dj_wallet.rest.routes import either

from .views import CoinWalletsView, CoinWalletView, PortfolioView

urlpatterns = [
    *either("api/wallets/", CoinWalletsView, "coin-wallets"),
    *either("api/wallets/portfolio/", PortfolioView, "portfolio"),
    *either("api/wallets/<int:pk>/", CoinWalletView, "coin-wallet"),
]
