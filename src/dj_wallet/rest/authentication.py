"""Who is asking: what a request came with, and whose it is. Nothing here says what they may do; `access` does.

`request.user` is a user, `request.auth` a `Credential`.
"""

import logging
from functools import partial
from typing import Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from dj_wallet.identity.access import COMMON_SCOPES, INTERNAL, Credential, Kind
from dj_wallet.identity.audit import find_address
from dj_wallet.identity.errors import IssuerUnavailable as IssuerAway
from dj_wallet.identity.errors import SignatureInvalid as SignatureRefused
from dj_wallet.identity.errors import TokenInvalid as TokenRefused
from dj_wallet.identity.kept import find_owner, name_key
from dj_wallet.identity.key_text import parse_key_text
from dj_wallet.identity.models import ApiKey, User
from dj_wallet.identity.queries import find_api_key, find_signing_key, is_allowed_from
from dj_wallet.identity.services import record_use
from dj_wallet.identity.signatures import SCHEME, parse_signature, verify_signature
from dj_wallet.identity.step_up import may_pass
from dj_wallet.identity.tokens import Grant, accept_grant, read_token

from .ahead import look_up
from .errors import (
    AddressNotAllowed,
    ApiKeyInvalid,
    BodyTooLarge,
    CsrfFailed,
    IssuerUnavailable,
    SecondFactorRequired,
    SignatureInvalid,
    TokenInvalid,
)

logger = logging.getLogger(__name__)

KEY_START: Final = "wk_"
CHALLENGE: Final = 'Bearer realm="wallets"'

Found = tuple[User, Credential]


class ApiKeyAuthentication(BaseAuthentication):
    """Accepts `Authorization: Bearer wk_...` and `X-API-Key: wk_...`."""

    def authenticate(self, request: Request) -> Found | None:
        """Return the key's user and the key, or None if the request carries no API key.

        :raises ApiKeyInvalid: the key is unknown, revoked or expired, or its user may not sign in
        :raises AddressNotAllowed: it is not for the address that the request came from
        """
        text = find_key_text(request)
        if text is None:
            return None
        api_key = self._find(request, text)
        if api_key is None:
            logger.warning("Refused an API key from %s", find_address(request._request))
            raise ApiKeyInvalid
        return accept_key(api_key, Kind.API_KEY, request)

    def _find(self, request: Request, text: str) -> ApiKey | None:
        parts = parse_key_text(text)
        if parts is None:
            return None

        def count(api_key: ApiKey) -> Found | None:
            return open_with(api_key, Kind.API_KEY) if is_here_allowed(api_key, request) else None

        return look_up(request, name_key(parts.prefix), partial(find_api_key, text), count)

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class TokenAuthentication(BaseAuthentication):
    """Accepts `Authorization: Bearer` with an access token of an issuer that we trust."""

    def authenticate(self, request: Request) -> Found | None:
        """Return whose token it is and what it opens, or None if the request carries none.

        :raises TokenInvalid: it opens nothing
        :raises IssuerUnavailable: its issuer's keys cannot be fetched
        """
        text = find_bearer(request)
        if not text:
            return None
        try:
            return self._authenticate(request, read_token(text))
        except TokenRefused as refusal:
            logger.warning("Refused a token from %s: %s", find_address(request._request), refusal)
            raise TokenInvalid from None
        except IssuerAway:
            raise IssuerUnavailable from None

    def _authenticate(self, request: Request, grant: Grant) -> Found:
        def count(user: User) -> Found | None:
            return (user, grant.credential) if user.is_active else None

        user = look_up(request, grant.owner.name, partial(find_owner, grant.owner), count)
        return accept_grant(grant, user)

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class SignatureAuthentication(BaseAuthentication):
    """Accepts requests that a service signed."""

    def authenticate(self, request: Request) -> Found | None:
        """Return the user of the key that signed the request, and the key, or None if the request is not signed.

        :raises SignatureInvalid: it is wrong, too old, or was used before
        :raises AddressNotAllowed: the key is not for the address that the request came from
        """
        scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.upper() != SCHEME:
            return None
        try:
            return self._verify(request, credentials)
        except SignatureRefused as refusal:
            address = find_address(request._request)
            logger.warning("Refused a signed request from %s: %s", address, refusal)
            raise SignatureInvalid from None

    def _verify(self, request: Request, credentials: str) -> Found:
        signature = parse_signature(credentials)
        api_key = find_signing_key(signature.prefix)
        if api_key is None:
            raise SignatureRefused("the key is unknown or ended")
        body = read_body(request._request)
        target = request._request.get_full_path()
        # Before the nonce is used up: a request from elsewhere costs its sender nothing.
        found = accept_key(api_key, Kind.SIGNATURE, request)
        verify_signature(signature, api_key, method=request.method or "", target=target, body=body)
        return found

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class BrowserAuthentication(SessionAuthentication):
    """Accepts the session of somebody who signed in, with Django's CSRF token where something changes."""

    def authenticate(self, request: Request) -> Found | None:
        """Return who signed in, with what people may do, or None.

        :raises CsrfFailed: the request may come from another site
        :raises SecondFactorRequired: staff, who see all, have to prove one first
        """
        user = getattr(request._request, "user", None)
        if not isinstance(user, User) or not user.is_active:
            return None
        self.enforce_csrf(request)
        if user.is_staff and not may_pass(request._request):
            raise SecondFactorRequired
        return user, Credential(Kind.SESSION, "session", COMMON_SCOPES)

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied:
            raise CsrfFailed from None


def accept_key(api_key: ApiKey, kind: Kind, request: Request) -> Found:
    """Return the key's user and what the key opens.

    :raises AddressNotAllowed: it is not for the address that the request came from
    """
    if not is_here_allowed(api_key, request):
        logger.warning("API key %s is not for %s", api_key.prefix, find_address(request._request))
        raise AddressNotAllowed
    record_use(api_key)
    return open_with(api_key, kind)


def is_here_allowed(api_key: ApiKey, request: Request) -> bool:
    """Tell whether the key may be used from where the request comes from."""
    allowed = api_key.allowed_addresses
    return not allowed or is_allowed_from(allowed, find_address(request._request))


def open_with(api_key: ApiKey, kind: Kind) -> Found:
    """Return the key's user and what the key opens."""
    scopes = frozenset(api_key.scopes)
    is_service = any(scope.partition(":")[0] == INTERNAL for scope in scopes)
    return api_key.user, Credential(kind, f"key:{api_key.prefix}", scopes, is_service, api_key)


def find_key_text(request: Request) -> str | None:
    """Return the API key that the headers carry."""
    bearer = find_bearer(request)
    if bearer is not None and bearer.startswith(KEY_START):
        return bearer
    header: str | None = request.META.get("HTTP_X_API_KEY")
    return header


def find_bearer(request: Request) -> str | None:
    """Return what the Authorization header carries behind `Bearer`, or None without one."""
    scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return str(credentials).strip() if scheme.lower() == "bearer" else None


def read_body(request: HttpRequest) -> bytes:
    """Return the whole body, which the parser reads again later.

    :raises BodyTooLarge: see there
    """
    try:
        return request.body
    except RequestDataTooBig:
        raise BodyTooLarge(settings.DATA_UPLOAD_MAX_MEMORY_SIZE) from None
