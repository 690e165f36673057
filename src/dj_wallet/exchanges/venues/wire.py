"""The CCXT clients: made from its classes as they are, with our waiting, order and error reading around each request.

A client shares the session and TLS context that it is given, knows no markets, and never shows its secrets.
"""

import logging
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any, Final, Protocol

from . import Venue
from .contract import Credentials
from .errors import CredentialsIncomplete, VenueError
from .failures import read_failure

REQUEST_TIMEOUT_MS: Final = 8_000
# CCXT writes every request to this logger at DEBUG, its headers with key and passphrase included.
CCXT_LOGGERS: Final = ("ccxt", "ccxt.base.exchange", "ccxt.async_support.base.exchange")


class Gate(Protocol):
    """What stands before each request of a client, and hears how it ended."""

    async def wait(self, cost: float) -> Any:
        """Return when the limits allow the request, with what `report` will need.

        :raises VenueError: they do not, or the venue is known to be down
        """
        ...

    def in_order(self, client: Any) -> AbstractAsyncContextManager[None]:
        """Let the requests of one key through one after the other, nonces rising."""
        ...

    def milliseconds_left(self) -> int:
        """Return how long a request may take."""
        ...

    async def report(self, ticket: Any, failure: VenueError | None) -> None:
        """Hear that the venue answered, or how it failed."""
        ...


class _NoRequests(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.INFO


class Wire:
    """Mixed in before a class of CCXT."""

    venue: Venue
    gate: Gate

    async def fetch2(
        self,
        path: str,
        api: Any = "public",
        method: str = "GET",
        params: Any = None,
        config: Any = None,
    ) -> Any:
        """Send one request, when it may be sent; every request of CCXT goes through here.

        :raises VenueError: it failed
        """
        params, config = params or {}, config or {}
        ccxt: Any = super()
        cost = ccxt.calculate_rate_limiter_cost(api, method, path, params, config)
        ticket = await self.gate.wait(float(cost))
        failure: VenueError | None = None
        try:
            if self.venue.needs_ordered_nonces:
                async with self.gate.in_order(self):
                    answer = await ccxt.fetch2(path, api, method, params, config)
            else:
                answer = await ccxt.fetch2(path, api, method, params, config)
        except ccxt_errors() as error:
            failure = self._read(error)
        except (LookupError, TypeError, ValueError):
            failure = CredentialsIncomplete(
                f"{self.venue.name} needs a secret of another form: requests cannot be signed with this one.",
                venue=self.venue.id,
            )
        # Raised here, not above: its context would hold the signed request.
        await self.gate.report(ticket, failure)
        if failure is not None:
            raise failure
        return answer

    async def fetch(
        self, url: str, method: str = "GET", headers: Any = None, body: Any = None
    ) -> Any:
        """Send the signed request, with the time that its own call has left.

        CCXT keeps the time in the client, which parallel requests share. It reads it before it first lets others run.
        """
        client: Any = self
        client.timeout = min(REQUEST_TIMEOUT_MS, self.gate.milliseconds_left())
        ccxt: Any = super()
        return await ccxt.fetch(url, method, headers, body)

    def handle_errors(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        headers: Any,
        body: str,
        response: Any,
        request_headers: Any,
        request_body: Any,
    ) -> Any:
        """Refuse a success that is not JSON, which CCXT takes for an empty one; keep what a failure says in its head."""
        bad_response = _error_class("BadResponse")
        self._last_headers = headers
        if response is None and 200 <= code < 300:
            raise self._noted(bad_response(f"{self.venue.id} {code}: {body[:200]}"), code, headers)
        ccxt: Any = super()
        try:
            return ccxt.handle_errors(
                code, reason, url, method, headers, body, response, request_headers, request_body
            )
        except ccxt_errors() as error:
            raise self._noted(error, code, headers) from None
        except (LookupError, TypeError, AttributeError, ValueError):
            # JSON of a shape that CCXT does not expect
            raise self._noted(
                bad_response(f"{self.venue.id} {code}: {body[:200]}"), code, headers
            ) from None

    def handle_http_status_code(
        self, code: int, reason: str, url: str, method: str, body: str
    ) -> None:
        ccxt: Any = super()
        try:
            ccxt.handle_http_status_code(code, reason, url, method, body)
        except ccxt_errors() as error:
            raise self._noted(error, code, self._last_headers) from None

    def _noted(self, error: Any, code: int, headers: Any) -> Any:
        """Attach status and headers to the exception: concurrent requests share the client."""
        error.http_status, error.http_headers = code, dict(headers or {})
        return error

    def _read(self, error: BaseException) -> VenueError:
        client: Any = self
        return read_failure(
            error,
            venue=self.venue.id,
            status=getattr(error, "http_status", None),
            headers=getattr(error, "http_headers", None),
            secrets=(client.apiKey or "", client.secret or "", client.password or ""),
        )

    def __repr__(self) -> str:
        return f"<client of {self.venue.id}>"

    __str__ = __repr__


def make_client(
    venue: Venue,
    credentials: Credentials,
    gate: Gate,
    *,
    session: Any,
    ssl_context: Any,
    clock_offset_ms: int = 0,
) -> Any:
    """Return a client for one key. Call it on the loop that runs the session.

    :raises CredentialsIncomplete: a part that the venue needs is missing
    """
    check_credentials(venue, credentials)
    client = _client_class(venue.ccxt_id)({
        "apiKey": credentials.api_key,
        "secret": credentials.api_secret,
        "password": credentials.passphrase,
        "session": session,
        "ssl_context": ssl_context,
        "timeout": REQUEST_TIMEOUT_MS,
        "timeout_on_exit": 0,
        "enableRateLimit": False,
        "enableLastHttpResponse": False,
        "enableLastJsonResponse": False,
        "enableLastResponseHeaders": False,
        "options": {"timeDifference": clock_offset_ms},
    })  # fmt: skip
    client.venue, client.gate = venue, gate
    client.markets, client.currencies = {}, {}  # None is what makes CCXT load them
    return client


def check_credentials(venue: Venue, credentials: Credentials) -> None:
    """Find what is missing without asking the venue.

    :raises CredentialsIncomplete: a part is missing or contains what no header can carry
    """
    parts = {"api_key": credentials.api_key, "api_secret": credentials.api_secret}
    if venue.requires_passphrase:
        parts["passphrase"] = credentials.passphrase
    for name, part in parts.items():
        if not part.strip():
            raise CredentialsIncomplete(f"{venue.name} needs the {name}.", venue=venue.id)
    for name, part in (*parts.items(), ("passphrase", credentials.passphrase)):
        printable = part.replace("\n", "") if name == "api_secret" else part
        if not printable.isascii() or not printable.isprintable():
            raise CredentialsIncomplete(
                f"The {name} has characters that no key of {venue.name} has.", venue=venue.id
            )


def translate(client: Any, error: BaseException) -> VenueError:
    """Return our error for one that CCXT's own code raised outside of a request."""
    return read_failure(
        error,
        venue=client.venue.id,
        secrets=(client.apiKey or "", client.secret or "", client.password or ""),
    )


@cache
def _client_class(ccxt_id: str) -> Any:
    return type(ccxt_id, (Wire, getattr(_ccxt(), ccxt_id)), {})


def list_ccxt_ids() -> frozenset[str]:
    """Return the ids of all exchanges that CCXT knows."""
    return frozenset(_ccxt().exchanges)


def preload() -> None:
    """Import CCXT now, in a process that forks or serves: half a second that no request then pays."""
    _ccxt()


@cache
def _ccxt() -> Any:
    import ccxt.async_support

    for name in CCXT_LOGGERS:
        logging.getLogger(name).addFilter(_NoRequests())
    return ccxt.async_support


def _error_class(name: str) -> type[Exception]:
    found: type[Exception] = getattr(_ccxt(), name)
    return found


@cache
def ccxt_errors() -> tuple[type[BaseException], ...]:
    """Return what a request raises: CCXT's errors, and those of the connection that it lets through."""
    return (_error_class("BaseError"), OSError)
