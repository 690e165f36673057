"""Who is asking: the API key of a request."""

from typing import Final

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from dj_wallet.identity.models import ApiKey, User
from dj_wallet.identity.queries import find_api_key
from dj_wallet.identity.services import record_use

from .errors import ApiKeyInvalid

KEY_START: Final = "wk_"


class ApiKeyAuthentication(BaseAuthentication):
    """Accepts `Authorization: Bearer wk_...` and `X-API-Key: wk_...`."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        """Return the key's user and the key, or None if the request carries no API key.

        :raises ApiKeyInvalid: the key is unknown, revoked or expired, or its user may not sign in
        """
        text = find_key_text(request)
        if text is None:
            return None
        api_key = find_api_key(text)
        if api_key is None:
            raise ApiKeyInvalid
        record_use(api_key)
        return api_key.user, api_key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="wallets"'


def find_key_text(request: Request) -> str | None:
    """Return the API key that the headers carry. Other bearer tokens are none of our business."""
    scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip().startswith(KEY_START):
        bearer: str = credentials.strip()
        return bearer
    header: str | None = request.META.get("HTTP_X_API_KEY")
    return header
