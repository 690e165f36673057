"""How allauth does things here: who may sign up, how it throttles, how it proves who you are, what its tokens say."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.ratelimit import respond_429
from allauth.idp.oidc.adapter import DefaultOIDCAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from dj_wallet.sealing import seal, unseal

from .access import INTERNAL_SCOPES, list_consents
from .step_up import has_second_factor_set_up


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Sign-up, sign-in and proving it again."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        is_open: bool = settings.WALLET_SIGNUP_OPEN
        return is_open

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Stop guessing with 429, and write it down; the password is not looked at any more."""
        from .audit import Event, record_event

        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            name = str(credentials.get("username") or credentials.get("email") or "")
            record_event(Event.SIGN_IN_THROTTLED, user=None, username=name, request=request)
            raise ImmediateHttpResponse(respond_429(request)) from None

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """Offer the second factor only, if there is one: a password alone is the weaker proof."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        factors = [method for method in methods if method["id"] != "reauthenticate"]
        return factors or methods

    def reauthenticate(self, user: Any, password: str) -> bool:
        """Take a password only from users who have nothing better."""
        return not has_second_factor_set_up(user) and super().reauthenticate(user, password)


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets of authenticator apps and recovery codes are sealed in the database."""

    def encrypt(self, text: str) -> str:
        return seal(text, purpose="identity")

    def decrypt(self, encrypted_text: str) -> str:
        return unseal(encrypted_text, purpose="identity")


class OIDCAdapter(DefaultOIDCAdapter):  # type: ignore[misc]
    """Our access tokens: for us, by us, signed with the first key of the list."""

    scope_display = {**DefaultOIDCAdapter.scope_display, **list_consents()}

    def get_issuer(self) -> str:
        """Return the same name whatever host the client asked for."""
        issuer: str = settings.WALLET_ISSUER
        return issuer

    def get_signing_key(self) -> Any:
        """Return the first key. Those behind it are published and believed, but do not sign."""
        return self.list_private_keys(is_active=True)[0]

    def populate_access_token(
        self, access_token: dict[str, Any], *, client: Any, scopes: Any, user: Any, **kwargs: Any
    ) -> None:
        """Name the audience, and the client as the subject of its own token (RFC 9068)."""
        access_token["aud"] = settings.WALLET_AUDIENCE
        if user is None:
            access_token["sub"] = client.id
        else:
            kept = [scope for scope in scopes if scope not in INTERNAL_SCOPES]
            access_token["scope"] = " ".join(kept)

    def validate_resource_uris(self, *, uris: list[str], **kwargs: Any) -> None:
        """Refuse tokens for others: there is one audience."""
        if any(not f"{uri}/".startswith(f"{settings.WALLET_ISSUER}/") for uri in uris):
            raise ValidationError("There is no such resource.")
