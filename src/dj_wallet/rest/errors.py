"""Errors of the interface, and how every error looks to a client.

    {"error": {"code": "...", "message": "...", "details": {...}, "timestamp": "..."}}

`code` is stable and listed in docs/reference/errors.md; nothing else is meant for programs. No stack trace, no HTML.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.utils import timezone
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.response import Response

from dj_wallet.custody.errors import PolicyDenied, WithdrawalsFrozen, WithdrawalsPaused
from dj_wallet.events.errors import DeliveryInFlight
from dj_wallet.exceptions import (
    EscrowNotFound,
    EscrowStateInvalid,
    HoldEnded,
    HoldExceeded,
    HoldExpired,
    HoldNotFound,
    IdempotencyConflict,
    OrderConflict,
    OutcomeUnknown,
    TransactionAlreadyProcessed,
    WalletException,
)
from dj_wallet.exchanges import errors as exchanges
from dj_wallet.exchanges.venues import errors as venues
from dj_wallet.payouts.errors import BankCannotTell, PayoutInFlight, PayoutNotUndecided

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS: Final = 1
KEY_TAKEN: Final = "The idempotency key was used for something else."


class ApiKeyInvalid(exceptions.AuthenticationFailed):
    """The API key opens nothing."""

    default_detail = "The API key is unknown, revoked or expired."
    default_code = "api_key_invalid"


class TokenInvalid(exceptions.AuthenticationFailed):
    """The access token opens nothing."""

    default_detail = "The access token is not valid here, or has expired."
    default_code = "token_invalid"


class SignatureInvalid(exceptions.AuthenticationFailed):
    """The signature of the request opens nothing."""

    default_detail = "The signature is wrong, too old, or was used before."
    default_code = "signature_invalid"


class AddressNotAllowed(exceptions.PermissionDenied):
    """The key has a list of addresses, and this is none of them."""

    default_detail = "This key may not be used from your address."
    default_code = "address_not_allowed"


class CsrfFailed(exceptions.PermissionDenied):
    """A browser sent a session without the token that other sites cannot know."""

    default_detail = "Send the CSRF token of the session in the header X-CSRFToken."
    default_code = "csrf_failed"


class ScopeMissing(exceptions.PermissionDenied):
    """The credential is good, but not for this."""

    default_code = "scope_missing"

    def __init__(self, scopes: Iterable[str] = ("...",)) -> None:
        super().__init__(f"This needs the scope {' or '.join(scopes)}.")


class InternalOnly(exceptions.PermissionDenied):
    """The path is for our own services; people have no business here."""

    default_detail = "This path is for services."
    default_code = "internal_only"


class SecondFactorRequired(exceptions.PermissionDenied):
    """Staff see all, so a password is not enough."""

    default_detail = "Sign in with a second factor first."
    default_code = "second_factor_required"


class StepUpRequired(exceptions.PermissionDenied):
    """The action is risky, and the last second factor is too long ago."""

    default_detail = "Prove your second factor again: see details.url."
    default_code = "step_up_required"

    def __init__(self, url: str = "") -> None:
        super().__init__()
        self.details = {"url": url}


class ScopesInvalid(exceptions.APIException):
    """Nobody gives what they have not."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    default_detail = "A scope does not exist, or you do not have it."
    default_code = "scopes_invalid"


class AddressesInvalid(exceptions.APIException):
    """What is listed are no IP addresses or networks."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    default_detail = "An entry is neither an IP address nor a network."
    default_code = "addresses_invalid"


class KeyEnded(exceptions.APIException):
    """The API key has a successor or was revoked."""

    status_code = HTTPStatus.CONFLICT
    default_detail = "The key was rolled or revoked before."
    default_code = "key_ended"


class IssuerUnavailable(exceptions.APIException):
    """The keys of the token's issuer cannot be fetched: it can be neither believed nor refused."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = "The issuer of the token cannot be reached. Try again."
    default_code = "issuer_unavailable"
    wait = RETRY_AFTER_SECONDS


class BankSignatureInvalid(exceptions.APIException):
    """A message is not from whom it says, or it is old."""

    status_code = HTTPStatus.UNAUTHORIZED
    default_detail = "The signature of the message is not right."
    default_code = "bank_signature_invalid"


class JSONInvalid(exceptions.ParseError):
    """The body is not the JSON that we read."""

    default_code = "json_invalid"


class BodyTooLarge(exceptions.APIException):
    """The body is longer than we read."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body must not be longer than {limit} bytes.")


class LengthRequired(exceptions.APIException):
    """The body comes without saying how long it is."""

    status_code = HTTPStatus.LENGTH_REQUIRED
    default_detail = "Send the body with a Content-Length."
    default_code = "length_required"


class IdempotencyKeyRequired(exceptions.APIException):
    """A movement of money without a key could not be repeated safely."""

    status_code = HTTPStatus.BAD_REQUEST
    default_detail = "This request needs the header Idempotency-Key."
    default_code = "idempotency_key_required"


class IdempotencyKeyInvalid(exceptions.APIException):
    """The key cannot be stored."""

    status_code = HTTPStatus.BAD_REQUEST
    default_detail = "An idempotency key has 1 to 128 printable ASCII characters."
    default_code = "idempotency_key_invalid"


class WalletExists(exceptions.APIException):
    """The holder has a wallet of that slug."""

    status_code = HTTPStatus.CONFLICT
    default_detail = "You already have a wallet of this slug."
    default_code = "wallet_exists"


class WalletNotEmpty(exceptions.APIException):
    """What holds something is not removed."""

    status_code = HTTPStatus.CONFLICT
    default_detail = "The wallet holds something: move it out first."
    default_code = "wallet_not_empty"


class PreconditionFailed(exceptions.APIException):
    """It is no longer as the caller saw it."""

    status_code = HTTPStatus.PRECONDITION_FAILED
    default_detail = "It has changed since: get it again."
    default_code = "precondition_failed"


class AssetNotFound(exceptions.APIException):
    """Assets are made by the operator, not by a typing error."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    default_detail = "There is no such asset."
    default_code = "asset_not_found"


class Problem(NamedTuple):
    """An error as a client sees it."""

    status: HTTPStatus
    code: str
    message: str
    details: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}


NOT_FOUND: Final = Problem(HTTPStatus.NOT_FOUND, "not_found", "There is nothing here.")
CSRF_FAILED: Final = Problem(
    HTTPStatus.FORBIDDEN,
    CsrfFailed.default_code,
    CsrfFailed.default_detail,
)
FORBIDDEN: Final = Problem(HTTPStatus.FORBIDDEN, "permission_denied", "You may not do this.")
BAD_REQUEST: Final = Problem(
    HTTPStatus.BAD_REQUEST, "invalid_request", "The request cannot be read."
)
INTERNAL: Final = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal_error",
    "Something went wrong on our side. The request id tells us what.",
)
UNAVAILABLE: Final = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "database_unavailable",
    "The database cannot be reached. Repeat the request with the same idempotency key.",
    headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
)
REDIS_UNAVAILABLE: Final = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "redis_unavailable",
    "Redis, which this needs, cannot be reached. Try again.",
    headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
)

# Refusals of the ledger are 422 unless they are named here.
WALLET_STATUSES: Final[Mapping[type[WalletException], HTTPStatus]] = {
    IdempotencyConflict: HTTPStatus.CONFLICT,
    TransactionAlreadyProcessed: HTTPStatus.CONFLICT,
    HoldNotFound: HTTPStatus.NOT_FOUND,
    HoldEnded: HTTPStatus.CONFLICT,
    HoldExpired: HTTPStatus.CONFLICT,
    HoldExceeded: HTTPStatus.CONFLICT,
    EscrowNotFound: HTTPStatus.NOT_FOUND,
    EscrowStateInvalid: HTTPStatus.CONFLICT,
    OrderConflict: HTTPStatus.CONFLICT,
    PayoutInFlight: HTTPStatus.CONFLICT,
    PayoutNotUndecided: HTTPStatus.CONFLICT,
    BankCannotTell: HTTPStatus.CONFLICT,
    OutcomeUnknown: HTTPStatus.SERVICE_UNAVAILABLE,
    DeliveryInFlight: HTTPStatus.CONFLICT,
    WithdrawalsFrozen: HTTPStatus.FORBIDDEN,
    PolicyDenied: HTTPStatus.FORBIDDEN,
    WithdrawalsPaused: HTTPStatus.SERVICE_UNAVAILABLE,
}

# Refusals of exchanges and of our own rules about them are 422 unless they are named here. None is 401: whoever calls
# us is known to us, whatever the exchange says of the key.
VENUE_STATUSES: Final[Mapping[type[venues.VenueError], HTTPStatus]] = {
    venues.AccountSuspended: HTTPStatus.FORBIDDEN,
    venues.AddressLimitReached: HTTPStatus.CONFLICT,
    venues.AddressNotAvailable: HTTPStatus.CONFLICT,
    venues.AddressPending: HTTPStatus.CONFLICT,
    venues.ClockSkew: HTTPStatus.SERVICE_UNAVAILABLE,
    venues.DepositsDisabled: HTTPStatus.CONFLICT,
    venues.IPNotAllowed: HTTPStatus.FORBIDDEN,
    venues.LimitsUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    venues.NonceConflict: HTTPStatus.SERVICE_UNAVAILABLE,
    venues.OutcomeUnknown: HTTPStatus.CONFLICT,
    venues.PermissionMissing: HTTPStatus.FORBIDDEN,
    venues.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    venues.RestrictedLocation: HTTPStatus.FORBIDDEN,
    venues.TLSInvalid: HTTPStatus.BAD_GATEWAY,
    venues.VenueApiError: HTTPStatus.BAD_GATEWAY,
    venues.VenueBadResponse: HTTPStatus.BAD_GATEWAY,
    venues.VenueBlocked: HTTPStatus.BAD_GATEWAY,
    venues.VenueMaintenance: HTTPStatus.SERVICE_UNAVAILABLE,
    venues.VenueTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    venues.VenueUnavailable: HTTPStatus.BAD_GATEWAY,
    venues.VenueUnreachable: HTTPStatus.BAD_GATEWAY,
    venues.AddressInvalid: HTTPStatus.BAD_GATEWAY,
    venues.NetworkMismatch: HTTPStatus.BAD_GATEWAY,
    venues.TagInvalid: HTTPStatus.BAD_GATEWAY,
    venues.TagMissing: HTTPStatus.BAD_GATEWAY,
    exchanges.AccountChanged: HTTPStatus.CONFLICT,
    exchanges.AccountExists: HTTPStatus.CONFLICT,
    exchanges.AccountInactive: HTTPStatus.CONFLICT,
    exchanges.AddressNotConfirmed: HTTPStatus.BAD_GATEWAY,
    exchanges.AddressTampered: HTTPStatus.CONFLICT,
    exchanges.ApiKeyInUse: HTTPStatus.CONFLICT,
    exchanges.CreationConflict: HTTPStatus.CONFLICT,
    exchanges.KeyUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    exchanges.SealBroken: HTTPStatus.CONFLICT,
}


def handle_exception(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Return the answer to an error of a view, or None for what only a bug raises: Django logs that as 500."""
    problem = find_problem(error)
    if problem is None:
        return None
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s: %s", problem.code, error)
    return Response(build_body(problem), status=problem.status, headers=dict(problem.headers))


def find_problem(error: Exception) -> Problem | None:
    """Return what an expected error means to the client, or None."""
    if isinstance(error, WalletException):
        return describe_refusal(error)
    if isinstance(error, venues.VenueError):
        return describe_venue_error(error)
    if isinstance(error, exceptions.APIException):
        return _describe_api_error(error)
    if isinstance(error, Http404):
        return NOT_FOUND
    if isinstance(error, PermissionDenied):
        return FORBIDDEN
    if isinstance(error, OperationalError | InterfaceError):
        return UNAVAILABLE
    if isinstance(error, RedisError):
        return REDIS_UNAVAILABLE
    return None


def describe_refusal(error: WalletException) -> Problem:
    """Return what a refusal of the ledger means to the client."""
    status = WALLET_STATUSES.get(type(error), HTTPStatus.UNPROCESSABLE_ENTITY)
    headers = (
        {"Retry-After": str(RETRY_AFTER_SECONDS)}
        if status == HTTPStatus.SERVICE_UNAVAILABLE
        else {}
    )
    # The ledger's message spells the key as it is stored, with the user in it.
    message = KEY_TAKEN if isinstance(error, IdempotencyConflict) else str(error)
    return Problem(status, error.code, message, error.details, headers)


def describe_venue_error(error: venues.VenueError) -> Problem:
    """Return what an exchange's refusal or failure means to the client. Its text and details are free of secrets."""
    kinds = (VENUE_STATUSES.get(kind) for kind in type(error).__mro__)
    status = next((found for found in kinds if found), HTTPStatus.UNPROCESSABLE_ENTITY)
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return Problem(status, error.code, str(error), error.details, headers)


def build_body(problem: Problem) -> dict[str, Any]:
    """Return the JSON of an error."""
    return {
        "error": {
            "code": problem.code,
            "message": problem.message,
            "details": dict(problem.details),
            "timestamp": timezone.now().isoformat().replace("+00:00", "Z"),
        }
    }


def _describe_api_error(error: exceptions.APIException) -> Problem:
    status = HTTPStatus(error.status_code)
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, exceptions.ValidationError):
        details = error.detail if isinstance(error.detail, dict) else {"request": error.detail}
        message = "The request is not valid: see details."
        return Problem(status, "invalid_request", message, details, headers)
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(wait)
    details = getattr(error, "details", {})
    return Problem(status, _get_code(error), str(error.detail), details, headers)


def _get_code(error: exceptions.APIException) -> str:
    return RENAMED.get(error.default_code, error.default_code)


# What the framework calls by a word that we use otherwise.
RENAMED: Final = {
    "error": "internal_error",
    "parse_error": "json_invalid",
    "authentication_failed": "api_key_invalid",
}


def answer_bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer what Django refuses before a view is found."""
    return _answer(BAD_REQUEST)


def answer_forbidden(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer what Django forbids outside of the API's views."""
    return _answer(FORBIDDEN)


def answer_csrf_failure(request: HttpRequest) -> JsonResponse:
    """Answer a form or script that may be another site's."""
    return _answer(CSRF_FAILED)


def answer_problem(problem: Problem) -> JsonResponse:
    """Answer what was found out about an error outside of the API's views."""
    return _answer(problem)


def answer_not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer a path that leads nowhere."""
    return _answer(NOT_FOUND)


def answer_internal_error(request: HttpRequest) -> JsonResponse:
    """Answer for a bug."""
    return _answer(INTERNAL)


def _answer(problem: Problem) -> JsonResponse:
    return JsonResponse(build_body(problem), status=problem.status, headers=problem.headers)
