"""Access tokens (JWT): are they of an issuer that we trust, for us, valid now, and who is it?

Issuers are the own one, whose keys are in the settings, and at most one external one, whose keys are fetched. Which
algorithms are believed is said here, never by the token.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import httpx
import jwt
from allauth.idp.oidc.adapter import get_adapter
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.conf import settings
from django.db import IntegrityError, transaction
from jwt.utils import base64url_decode

from .access import SCOPES, Credential, Kind
from .audit import record_event
from .errors import IssuerUnavailable, TokenInvalid
from .kept import Owner, clients_owner, external_user, own_user
from .models import AuditEvent, ExternalIdentity, User

logger = logging.getLogger(__name__)

LEEWAY_SECONDS: Final = 30
MAX_TOKEN_LENGTH: Final = 8192
REQUIRED_CLAIMS: Final = ("iss", "aud", "exp", "iat", "sub")
OWN_ALGORITHMS: Final = ("RS256",)
EXTERNAL_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
# An identity token says who signed in; it is not meant to open anything.
NO_ACCESS_TYPES: Final = frozenset({"ID", "Refresh", "Offline", "Logout"})

FETCH_TIMEOUT_SECONDS: Final = 3
MAX_KEYS_BYTES: Final = 256 * 1024
# Fetched keys are asked for anew after an hour; if that fails they serve for a day.
FRESH_SECONDS: Final = 3600
STALE_SECONDS: Final = 86400
# Tokens with made-up key ids, or an issuer that is down, cost the issuer a request this often at most.
REFETCH_SECONDS: Final = 30

Claims = Mapping[str, Any]


class Keys(Protocol):
    """Where an issuer's public keys are found."""

    def find(self, kid: str) -> Any | None:
        """Return the key of this id, or None.

        :raises IssuerUnavailable: nobody can tell
        """


class OwnKeys:
    """The public halves of our signing keys."""

    def find(self, kid: str) -> Any | None:
        pems = (key.pem for key in get_adapter().list_private_keys(is_active=True))
        return next((key for name, key in map(_load_public, pems) if name == kid), None)


@cache
def _load_public(pem: str) -> tuple[str, Any]:
    """Return key id and public key of a private key."""
    private: Any = load_pem_private_key(pem.encode(), password=None)
    return get_key_id(pem), private.public_key()


@cache
def get_key_id(pem: str) -> str:
    """Return the id by which allauth publishes the key: the thumbprint of RFC 7638."""
    from allauth.core.internal.jwkkit import load_jwk_from_pem

    return str(load_jwk_from_pem(pem)[0]["kid"])


class FetchedKeys:
    """An issuer's keys as its JWKS address tells them; kept, and asked for again when a new one turns up."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, Any] | None = None
        self._fetched_at = self._tried_at = -float("inf")

    def find(self, kid: str) -> Any | None:
        now = self._clock()
        if self._is_known(kid) and now - self._fetched_at < FRESH_SECONDS:
            return self._get(kid)
        with self._lock:
            if self._clock() - self._tried_at >= REFETCH_SECONDS:
                self._fetch()
        if self._keys is None or self._clock() - self._fetched_at > STALE_SECONDS:
            raise IssuerUnavailable(f"The keys at {self._url} cannot be fetched.")
        return self._get(kid)

    def _is_known(self, kid: str) -> bool:
        return self._keys is not None and kid in self._keys

    def _get(self, kid: str) -> Any | None:
        return (self._keys or {}).get(kid)

    def _fetch(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = fetch_keys(self._url)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            logger.error("The keys at %s cannot be fetched: %s", self._url, error)
            return
        self._fetched_at = self._clock()
        logger.info("Fetched %d keys from %s", len(self._keys), self._url)


def fetch_keys(url: str) -> dict[str, Any]:
    """Return the public signing keys at the address, by their ids. Keys that we cannot use are left out.

    :raises HTTPError: there is no good answer in time
    :raises ValueError: the answer is no set of keys
    """
    answer = httpx.get(url, timeout=FETCH_TIMEOUT_SECONDS, follow_redirects=False)
    answer.raise_for_status()
    if answer.status_code != httpx.codes.OK or len(answer.content) > MAX_KEYS_BYTES:
        raise ValueError("No set of keys.")
    body = answer.json()
    if not isinstance(body, dict) or not isinstance(body.get("keys"), list):
        raise ValueError("No set of keys.")
    return {one["kid"]: key for one in body["keys"] if (key := _read_key(one)) is not None}


def _read_key(one: Any) -> Any | None:
    is_ours = isinstance(one, dict) and isinstance(one.get("kid"), str)
    if not is_ours or one.get("use", "sig") != "sig" or one.get("kty") not in {"RSA", "EC", "OKP"}:
        return None
    try:
        return jwt.PyJWK(one).key
    except jwt.PyJWTError:
        return None


@dataclass(frozen=True)
class Issuer:
    """Somebody whose tokens we believe."""

    name: str
    audience: str
    algorithms: tuple[str, ...]
    keys: Keys = field(compare=False)
    is_own: bool = False


def get_issuers() -> Mapping[str, Issuer]:
    """Return the trusted issuers by name."""
    return _make_issuers(
        settings.WALLET_ISSUER,
        settings.WALLET_AUDIENCE,
        settings.WALLET_TRUSTED_ISSUER,
        settings.WALLET_TRUSTED_ISSUER_JWKS,
        settings.WALLET_TRUSTED_ISSUER_AUDIENCE,
    )


@cache
def _make_issuers(
    own: str, audience: str, external: str, jwks: str, external_audience: str
) -> Mapping[str, Issuer]:
    issuers = {own: Issuer(own, audience, OWN_ALGORITHMS, OwnKeys(), is_own=True)}
    if external:
        keys = FetchedKeys(jwks)
        issuers[external] = Issuer(external, external_audience, EXTERNAL_ALGORITHMS, keys)
    return issuers


def verify_token(text: str, issuers: Mapping[str, Issuer]) -> tuple[Issuer, Claims]:
    """Return who issued the token and what it says, all of it checked. No query.

    :raises TokenInvalid: anything is wrong with it
    :raises IssuerUnavailable: the issuer's keys cannot be fetched
    """
    try:
        if len(text) > MAX_TOKEN_LENGTH:
            raise TokenInvalid("too long")
        header = jwt.get_unverified_header(text)
        issuer = _find_issuer(text, issuers)
        key = _find_key(header, issuer)
        claims = jwt.decode(
            text,
            key,
            algorithms=list(issuer.algorithms),
            audience=issuer.audience,
            issuer=issuer.name,
            leeway=LEEWAY_SECONDS,
            options={"require": list(REQUIRED_CLAIMS)},
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise TokenInvalid(f"{type(error).__name__}: {error}") from None
    is_access = (
        claims.get("token_use") == "access"
        if issuer.is_own
        else (claims.get("typ") not in NO_ACCESS_TYPES)
    )
    if not is_access:
        raise TokenInvalid("not an access token")
    return issuer, claims


def _find_issuer(text: str, issuers: Mapping[str, Issuer]) -> Issuer:
    """Return the issuer that the token names. Nothing it says is believed yet."""
    claims = json.loads(base64url_decode(text.split(".")[1]))
    name = claims.get("iss") if isinstance(claims, dict) else None
    if not isinstance(name, str) or name not in issuers:
        raise TokenInvalid("of an issuer that is not trusted")
    return issuers[name]


def _find_key(header: Mapping[str, Any], issuer: Issuer) -> Any:
    if header.get("alg") not in issuer.algorithms:
        raise TokenInvalid(f"algorithm {header.get('alg')!r}")
    kid = header.get("kid")
    key = issuer.keys.find(kid) if isinstance(kid, str) else None
    if key is None:
        raise TokenInvalid("signed by an unknown key")
    return key


class Grant(NamedTuple):
    """What a token that was checked opens, and whom it acts for."""

    owner: Owner
    credential: Credential
    # Of another issuer's token: whose, by its subject.
    external: tuple[str, str] | None = None


def read_token(text: str) -> Grant:
    """Return what the token says, all of it checked. No query.

    :raises TokenInvalid: it is not valid
    :raises IssuerUnavailable: the issuer's keys cannot be fetched
    """
    issuer, claims = verify_token(text, get_issuers())
    client = str(claims.get("client_id") or claims.get("azp") or "")
    subject = claims["sub"]
    external = None
    if not issuer.is_own:
        owner, external = external_user(issuer.name, subject), (issuer.name, subject)
        is_service = client in settings.WALLET_TRUSTED_ISSUER_SERVICES
    elif is_service := subject == client:
        # A program's own token (client credentials) acts for the owner of its client.
        owner = clients_owner(client)
    else:
        owner = own_user(_read_id(subject))
    scopes = frozenset(str(claims.get("scope", "")).split())
    # A person's token opens no internal endpoint, whatever its client was allowed to ask for.
    granted = scopes if is_service else scopes & SCOPES
    credential = Credential(Kind.TOKEN, f"client:{client}", granted, is_service)
    return Grant(owner, credential, external)


def _read_id(subject: str) -> UUID:
    try:
        return UUID(subject)
    except ValueError:
        raise TokenInvalid("of nobody") from None


def accept_grant(grant: Grant, user: User | None) -> tuple[User, Credential]:
    """Return whose token it is and what it opens; another issuer's subject that was never here may become a user.

    :param user: whom the grant's owner was found to be
    :raises TokenInvalid: nobody may use it
    """
    if user is None and grant.external and settings.WALLET_TRUSTED_ISSUER_CREATES_USERS:
        user = _create_external_user(*grant.external)
    if user is None or not user.is_active:
        raise TokenInvalid("of nobody who may sign in")
    return user, grant.credential


def _create_external_user(issuer: str, subject: str) -> User:
    """Return a new user for a subject that was never here. Two requests at once get the same one."""
    try:
        with transaction.atomic():
            user = User(username="")
            user.username = f"external-{user.pk}"
            user.set_unusable_password()
            user.save(force_insert=True)
            link_user(user=user, issuer=issuer, subject=subject)
    except IntegrityError:
        return (
            ExternalIdentity.objects.select_related("user").get(issuer=issuer, subject=subject).user
        )
    return user


def link_user(*, user: User, issuer: str, subject: str) -> ExternalIdentity:
    """Say who the subject of another issuer is here.

    :raises IntegrityError: it is somebody already
    """
    identity = ExternalIdentity.objects.create(issuer=issuer, subject=subject, user=user)
    record_event(AuditEvent.Event.USER_LINKED, user=user, issuer=issuer, subject=subject)
    return identity
