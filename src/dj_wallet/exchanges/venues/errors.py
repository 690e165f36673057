"""Why a venue gave no answer that we can use.

    VenueError
    +-- VenueNotSupported        no such venue, or it cannot do this
    +-- SandboxNotAvailable      a sandbox account, and no sandbox is configured: never silently live
    +-- CredentialsIncomplete    a key, secret or passphrase is missing or not of the venue's form
    +-- InvalidCredentials       the venue does not know the key, or the signature is wrong
    +-- PermissionMissing        the key may not do this
    +-- IPNotAllowed             the key is tied to other IP addresses
    +-- AccountSuspended         the venue has closed or frozen the account
    +-- RestrictedLocation       the venue does not serve where we are
    +-- RateLimited              the venue's limit, or ours that keeps us below it
    +-- ClockSkew                the venue finds our clock wrong
    +-- NonceConflict            requests of one key arrived out of order
    +-- VenueMaintenance         the venue says that it is being maintained
    +-- VenueUnavailable         5xx, or the breaker is open
    +-- VenueTimeout             no answer in time
    +-- VenueUnreachable         no connection
    +-- TLSInvalid               the certificate is not one that we trust
    +-- VenueBlocked             a firewall in front of the venue turned us away
    +-- VenueBadResponse         an answer that is not what the venue documents
    +-- VenueApiError            any other refusal of the venue
    +-- CurrencyNotSupported     the venue does not list the currency
    +-- NetworkNotSupported      not for this currency at this venue, or a network that we cannot verify
    +-- NetworkRequired          the currency has several networks and none was named
    +-- NetworkMismatch          the venue answered for another network than the one asked for
    +-- DepositsDisabled         no address is made while the venue takes no deposits on the network
    +-- AddressNotAvailable      the venue has no address yet; one may have to be created
    +-- AddressPending           the venue is still making the address
    +-- AddressLimitReached      the venue makes no more addresses for this currency
    +-- AddressInvalid           the address has not the form of its network, so it is not shown
    +-- TagMissing               deposits need a tag, and the venue gave none
    +-- TagInvalid               the tag has not the form of its network
    +-- OutcomeUnknown           an address may have been created: look before you ask again
    +-- LimitsUnavailable        Redis, which keeps the limits, does not answer

Codes are stable and in capitals, as seed 002 writes them. `retryable` says whether the same call can succeed later
without anybody changing anything; `retry_after` in how many seconds, where that is known.
"""

from typing import Any, ClassVar


class VenueError(Exception):
    """Base of every refusal and failure here. Its text is safe to log, store and show."""

    code: ClassVar[str] = "EXCHANGE_ERROR"
    retryable: ClassVar[bool] = False
    # The venue is down rather than unwilling: what opens the breaker.
    is_outage: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        venue: str = "",
        currency: str = "",
        network: str = "",
        venue_message: str = "",
        retry_after: float | None = None,
        choices: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.venue = venue
        self.currency = currency
        self.network = network
        self.venue_message = venue_message
        self.retry_after = retry_after
        self.choices = choices

    @property
    def details(self) -> dict[str, Any]:
        """What is known, without what is not, under the names of seed 002."""
        known = {
            "exchange": self.venue,
            "currency": self.currency,
            "network": self.network,
            "exchange_error": self.venue_message,
            "retry_after": None if self.retry_after is None else round(self.retry_after, 3),
            "choices": list(self.choices),
        }
        return {name: value for name, value in known.items() if value or value == 0}


class VenueNotSupported(VenueError):
    code = "EXCHANGE_NOT_SUPPORTED"


class SandboxNotAvailable(VenueError):
    code = "SANDBOX_NOT_AVAILABLE"


class CredentialsIncomplete(VenueError):
    code = "CREDENTIALS_INCOMPLETE"


class InvalidCredentials(VenueError):
    code = "INVALID_CREDENTIALS"


class PermissionMissing(VenueError):
    code = "PERMISSION_DENIED"


class IPNotAllowed(VenueError):
    code = "IP_NOT_ALLOWED"


class AccountSuspended(VenueError):
    code = "ACCOUNT_SUSPENDED"


class RestrictedLocation(VenueError):
    code = "RESTRICTED_LOCATION"


class RateLimited(VenueError):
    code = "RATE_LIMITED"
    retryable = True


class ClockSkew(VenueError):
    code = "CLOCK_SKEW"
    retryable = True


class NonceConflict(VenueError):
    code = "NONCE_CONFLICT"
    retryable = True


class VenueMaintenance(VenueError):
    code = "EXCHANGE_MAINTENANCE"
    retryable = True
    is_outage = True


class VenueUnavailable(VenueError):
    code = "EXCHANGE_UNAVAILABLE"
    retryable = True
    is_outage = True


class VenueTimeout(VenueError):
    code = "EXCHANGE_TIMEOUT"
    retryable = True
    is_outage = True


class VenueUnreachable(VenueError):
    code = "NETWORK_ERROR"
    retryable = True
    is_outage = True


class TLSInvalid(VenueError):
    code = "TLS_ERROR"


class VenueBlocked(VenueError):
    code = "EXCHANGE_BLOCKED"


class VenueBadResponse(VenueError):
    code = "EXCHANGE_BAD_RESPONSE"
    retryable = True
    is_outage = True


class VenueApiError(VenueError):
    code = "EXCHANGE_API_ERROR"


class CurrencyNotSupported(VenueError):
    code = "UNSUPPORTED_CURRENCY"


class NetworkNotSupported(VenueError):
    code = "UNSUPPORTED_NETWORK"


class NetworkRequired(VenueError):
    code = "NETWORK_REQUIRED"


class NetworkMismatch(VenueError):
    code = "NETWORK_MISMATCH"


class DepositsDisabled(VenueError):
    code = "DEPOSITS_DISABLED"


class AddressNotAvailable(VenueError):
    code = "ADDRESS_NOT_AVAILABLE"


class AddressPending(VenueError):
    code = "ADDRESS_PENDING"
    retryable = True


class AddressLimitReached(VenueError):
    code = "ADDRESS_LIMIT_REACHED"


class AddressInvalid(VenueError):
    code = "ADDRESS_INVALID"


class TagMissing(VenueError):
    code = "TAG_MISSING"


class TagInvalid(VenueError):
    code = "TAG_INVALID"


class OutcomeUnknown(VenueError):
    code = "OUTCOME_UNKNOWN"


class LimitsUnavailable(VenueError):
    code = "RATE_LIMITS_UNAVAILABLE"
    retryable = True
