"""The paths of API keys."""

from dj_wallet.rest.routes import either

from .views import ApiKeysView, ApiKeyView, RollView

urlpatterns = [
    *either("api/v1/api-keys", ApiKeysView, "api-keys"),
    *either("api/v1/api-keys/<slug:prefix>", ApiKeyView, "api-key"),
    *either("api/v1/api-keys/<slug:prefix>/roll", RollView, "roll-api-key"),
]
