"""Refusals of the application, beside those of the venues: the same kind, so that one reader understands both.

VenueError (venues/errors.py)
+-- AccountExists                the user has an account of this name at the exchange
+-- ApiKeyInUse                  the API key is connected already, here or by somebody else
+-- WithdrawPermissionPresent    the key may withdraw, which ours need not
+-- WithdrawPermissionUnknown    the exchange does not say whether the key may withdraw
+-- AccountMismatch              the new key opens another account than the old one
+-- AccountChanged               somebody changed or removed the account meanwhile
+-- AccountInactive              the account is switched off, or its key was found invalid
+-- AddressTampered              the stored address is not the one that was stored: it is not shown
+-- AddressNotConfirmed          two answers in a row named different addresses
+-- CodeNotAvailable             no QR code says all that a deposit needs
+-- KeyUnavailable               the key that opens credentials cannot be had now
+-- SealBroken                   stored credentials do not open: they were changed, or moved from another record
+-- CreationConflict             the idempotency key was used for another address
"""

from typing import Any

from .venues.errors import VenueError as VenueError


class AccountExists(VenueError):
    code = "EXCHANGE_ACCOUNT_EXISTS"


class ApiKeyInUse(VenueError):
    code = "API_KEY_IN_USE"


class WithdrawPermissionPresent(VenueError):
    code = "WITHDRAW_PERMISSION_PRESENT"

    def __init__(self, message: str, *, guide: str, **known: Any) -> None:
        super().__init__(message, **known)
        self.guide = guide

    @property
    def details(self) -> dict[str, Any]:
        """What is known, and how a key is made that may do less."""
        return {**super().details, "least_privilege": self.guide}


class WithdrawPermissionUnknown(WithdrawPermissionPresent):
    code = "WITHDRAW_PERMISSION_UNKNOWN"


class AccountMismatch(VenueError):
    code = "EXCHANGE_ACCOUNT_MISMATCH"


class AccountChanged(VenueError):
    code = "EXCHANGE_ACCOUNT_CHANGED"
    retryable = True


class AccountInactive(VenueError):
    code = "EXCHANGE_ACCOUNT_INACTIVE"


class AddressTampered(VenueError):
    code = "ADDRESS_TAMPERED"


class AddressNotConfirmed(VenueError):
    code = "ADDRESS_NOT_CONFIRMED"
    retryable = True


class CodeNotAvailable(VenueError):
    code = "QR_CODE_NOT_AVAILABLE"


class KeyUnavailable(VenueError):
    code = "KEY_UNAVAILABLE"
    retryable = True


class SealBroken(VenueError):
    code = "CREDENTIALS_UNREADABLE"


class CreationConflict(VenueError):
    code = "CREATION_KEY_CONFLICT"
