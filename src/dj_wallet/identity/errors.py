"""Refusals of identity. The interfaces say each in their own way.

IdentityError
├── CredentialRefused     the request does not prove who it is from
│   ├── TokenInvalid
│   └── SignatureInvalid
├── IssuerUnavailable     its keys cannot be fetched; a retry can help
├── AddressNotAllowed     the key is not for this address
├── ScopesInvalid         no such scopes, or more than the maker has
├── AddressesInvalid      no addresses or networks
└── KeyEnded              the key has a successor or was revoked
"""


class IdentityError(Exception):
    """The base class; never raised itself."""


class CredentialRefused(IdentityError):
    """What the request came with opens nothing. The text is for the log, not for the client."""


class TokenInvalid(CredentialRefused):
    """The token is not one of an issuer that we trust, not for us, or not valid now."""


class SignatureInvalid(CredentialRefused):
    """The signature is wrong, too old, or was used before."""


class IssuerUnavailable(IdentityError):
    """The issuer's keys cannot be fetched, so its tokens can be neither believed nor refused."""


class AddressNotAllowed(IdentityError):
    """The key is not for the address that the request came from."""


class ScopesInvalid(IdentityError):
    """A scope does not exist, or its maker does not have it."""


class AddressesInvalid(IdentityError):
    """An entry of the list is neither an IP address nor a network."""


class KeyEnded(IdentityError):
    """The key has a successor or was revoked; it gets no other one."""
