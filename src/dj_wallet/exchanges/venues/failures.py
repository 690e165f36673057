"""From CCXT's exceptions to ours. The order of RULES is the precedence; research on each venue's texts stands behind it.

CCXT's classes alone do not do: a wrong secret at Kraken is a plain ExchangeError, a 429 of OKX too, a firewall's 403 is
"not available". So the HTTP status and the venue's own words decide first.
"""

import email.utils
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from . import errors
from .errors import VenueError

MAX_MESSAGE_CHARACTERS: Final = 500
MAX_READ_CHARACTERS: Final = 4_000
UNSAID: Final = "***"
_ADDRESS: Final = re.compile(r"https?://\S+")


class Failure(NamedTuple):
    """What is known of a failed request."""

    kinds: frozenset[str]  # names of the exception's classes
    text: str
    status: int | None

    def is_a(self, *names: str) -> bool:
        return not self.kinds.isdisjoint(names)


def _says(pattern: str) -> Callable[[Failure], bool]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda failure: compiled.search(failure.text) is not None


def _is(*names: str) -> Callable[[Failure], bool]:
    return lambda failure: failure.is_a(*names)


def _has_status(*statuses: int) -> Callable[[Failure], bool]:
    return lambda failure: failure.status in statuses


def _both(*tests: Callable[[Failure], bool]) -> Callable[[Failure], bool]:
    return lambda failure: all(test(failure) for test in tests)


_IS_DOWN: Final = _is("ExchangeNotAvailable")
_IS_AWAY: Final = _has_status(502, 503, 504)
_SAYS_CLOCK: Final = _says(r"timestamp|recv_?window|50102|400002")

# (test, error, seconds after which a retry makes sense if the venue does not say)
RULES: Final[tuple[tuple[Callable[[Failure], bool], type[VenueError], float | None], ...]] = (
    (_has_status(418, 429), errors.RateLimited, 60),
    (_is("RateLimitExceeded", "DDoSProtection"), errors.RateLimited, 60),
    (_is("OnMaintenance"), errors.VenueMaintenance, 300),
    (_both(_IS_AWAY, _says(r"maintenance|upgrad")), errors.VenueMaintenance, 300),
    (_IS_AWAY, errors.VenueUnavailable, 5),
    (_is("RestrictedLocation"), errors.RestrictedLocation, None),
    (_has_status(451), errors.RestrictedLocation, None),
    (
        _says(
            r"ip (address )?is not|ip whitelist|api whitelist|unmatched ip|not included in your API key's IP"
            r"|\"code\":\"?(400006|50110)\b|\"retCode\":10010\b|incorrect.{0,20} ip\b|ip: not allowed"
        ),
        errors.IPNotAllowed,
        None,
    ),
    (_is("AccountSuspended"), errors.AccountSuspended, None),
    (_is("PermissionDenied", "AccountNotEnabled"), errors.PermissionMissing, None),
    (
        _says(
            r"(does not|doesn't) have permission|permission denied|more permission|unavailable in demo"
        ),
        errors.PermissionMissing,
        None,
    ),
    (_both(_is("InvalidNonce"), _SAYS_CLOCK), errors.ClockSkew, 1),
    (_is("InvalidNonce"), errors.NonceConflict, 1),
    (_says(r"nonce: small|invalid nonce"), errors.NonceConflict, 1),
    (_says(r"timestamp is out of range"), errors.ClockSkew, 1),
    (_is("AuthenticationError"), errors.InvalidCredentials, None),
    (
        _says(
            r"invalid (api[- ]?)?(key|sign|signature)|EAPI:Invalid (key|signature)|digest invalid|apikey: invalid"
            r"|signature[- ]not[- ]valid|\bUnauthorized\b"
        ),
        errors.InvalidCredentials,
        None,
    ),
    (_is("AddressPending"), errors.AddressPending, 30),
    (_says(r"too many addresses|address already exists"), errors.AddressLimitReached, None),
    (_is("InvalidAddress"), errors.AddressNotAvailable, None),
    (
        _says(
            r"deposit.?address.{0,40}(not exist|create)|cannot find .{0,40}deposit address|temporarily blocked"
        ),
        errors.AddressNotAvailable,
        None,
    ),
    (
        _says(
            r"-4018\b|network does not exist|invalid chainid|method: invalid|no funding method|default network"
        ),
        errors.NetworkNotSupported,
        None,
    ),
    (
        _says(
            r"-4019\b|unknown asset|coin (does not exist|not supported)|not open for recharge|Parameter ccy error"
            r"|currency.{0,40}not (found|supported|exist)"
        ),
        errors.CurrencyNotSupported,
        None,
    ),
    (_is("BadSymbol"), errors.CurrencyNotSupported, None),
    (_is("NotSupported"), errors.VenueNotSupported, None),
    (_is("RequestTimeout", "TimeoutError"), errors.VenueTimeout, 2),
    (_is("ClientConnectorCertificateError", "ClientConnectorSSLError"), errors.TLSInvalid, None),
    (_both(_IS_DOWN, _has_status(403)), errors.VenueBlocked, None),
    (_both(_IS_DOWN, _has_status(400, 404, 405, 409, 410)), errors.VenueApiError, None),
    (_both(_IS_DOWN, _says(r"maintenance|upgrad|suspended")), errors.VenueMaintenance, 300),
    (_both(_IS_DOWN, _has_status(*range(500, 600))), errors.VenueUnavailable, 5),
    (
        _both(_IS_DOWN, _has_status(200)),
        errors.VenueUnavailable,
        5,
    ),  # Kraken's EService:Unavailable
    (_is("ExchangeNotAvailable", "NetworkError"), errors.VenueUnreachable, 5),
    (_is("BadResponse", "NullResponse"), errors.VenueBadResponse, 5),
    (_is("ArgumentsRequired"), errors.NetworkRequired, None),
    (_is("OperationFailed"), errors.VenueBadResponse, 5),
    (lambda failure: True, errors.VenueApiError, None),
)

MESSAGES: Final = {
    errors.RateLimited: "The exchange's rate limit is reached.",
    errors.VenueMaintenance: "The exchange is being maintained.",
    errors.RestrictedLocation: "The exchange does not serve this location.",
    errors.IPNotAllowed: "The API key is tied to IP addresses that are not ours.",
    errors.AccountSuspended: "The exchange has suspended the account.",
    errors.PermissionMissing: "The API key may not do this.",
    errors.ClockSkew: "The exchange finds our clock wrong.",
    errors.NonceConflict: "Requests with this API key arrived out of order.",
    errors.InvalidCredentials: "The exchange does not accept the API key or its signature.",
    errors.AddressPending: "The exchange is still making the address.",
    errors.AddressLimitReached: "The exchange makes no more addresses here.",
    errors.AddressNotAvailable: "The exchange has no address for this currency yet.",
    errors.NetworkNotSupported: "The exchange does not take deposits of this currency on this network.",
    errors.CurrencyNotSupported: "The exchange does not know this currency.",
    errors.VenueNotSupported: "The exchange cannot do this.",
    errors.VenueTimeout: "The exchange did not answer in time.",
    errors.TLSInvalid: "The exchange's certificate is not one that we trust.",
    errors.VenueBlocked: "A firewall in front of the exchange turned us away.",
    errors.VenueUnavailable: "The exchange is not available.",
    errors.VenueUnreachable: "The exchange cannot be reached.",
    errors.VenueBadResponse: "The exchange answered something that it does not document.",
    errors.NetworkRequired: "The exchange needs the network to be named.",
    errors.VenueApiError: "The exchange refused the request.",
}


def read_failure(
    error: BaseException,
    *,
    venue: str,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    secrets: tuple[str, ...] = (),
) -> VenueError:
    """Return our error for one of CCXT's, with what the venue said of it and without anything secret.

    Raise it outside of the `except` block: the original holds the signed address of the request.
    """
    cause = error.__cause__
    kinds = {kind.__name__ for one in (error, cause) if one for kind in type(one).__mro__}
    text = str(error)[:MAX_READ_CHARACTERS]
    # The address of the request is not the venue's word on it.
    failure = Failure(frozenset(kinds), _ADDRESS.sub("", text), status)
    kind, wait = next((kind, wait) for test, kind, wait in RULES if test(failure))
    retry_after = read_retry_after(headers or {})
    return kind(
        MESSAGES[kind],
        venue=venue,
        venue_message=scrub(text, secrets),
        retry_after=wait if retry_after is None else retry_after,
    )


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the venue wants us to wait, by Retry-After or its own headers."""
    low = {name.lower(): value for name, value in headers.items()}
    try:
        if "retry-after" in low:
            return _read_wait(low["retry-after"])
        if "x-bapi-limit-reset-timestamp" in low and low.get("x-bapi-limit-status") == "0":
            return max(0.0, float(low["x-bapi-limit-reset-timestamp"]) / 1000 - time.time())
        if "gw-ratelimit-reset" in low and low.get("gw-ratelimit-remaining") == "0":
            return float(low["gw-ratelimit-reset"]) / 1000
    except ValueError:
        return None
    return None


def _read_wait(text: str) -> float:
    """Read seconds or an HTTP date, at most a day."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text.strip()):
        return min(float(text), 86_400)
    moment = email.utils.parsedate_to_datetime(text)
    return min(max(0.0, moment.timestamp() - time.time()), 86_400)


_QUERY: Final = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"'<>]*")
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e\u00a1-\uffff]+")
_ORIGIN: Final = re.compile(r"origin_string\[[^\]]*\]?", re.IGNORECASE)


def scrub(text: str, secrets: tuple[Any, ...] = ()) -> str:
    """Return a venue's words for a log or a user: without secrets, addresses' queries, control characters; short."""
    for secret in secrets:
        for form in (secret, *secret.splitlines()) if secret else ():
            if len(form) >= 4:
                text = text.replace(form, UNSAID)
    text = _ORIGIN.sub(UNSAID, _QUERY.sub(rf"\1?{UNSAID}", text))
    return _UNPRINTABLE.sub(" ", text)[:MAX_MESSAGE_CHARACTERS].strip()
