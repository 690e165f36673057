"""Keys of one account, m/44'/coin'/account': the public half that derives addresses, the private half that signs.

Web processes hold `AccountPublicKey` only. It is confidential all the same: together with the private key of a
single address it gives the private key of the whole account, which is why no private key of an address ever leaves
`AccountKey`. Neither class shows its key in `repr`, `str`, a pickle or an error.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, NoReturn, Self

from coincurve import PrivateKey, PublicKey

from .addresses import p2pkh_address
from .errors import KeyInvalid
from .hashes import decode_base58check, encode_base58check, hash160
from .networks import Network

DEPOSIT_CHAIN: Final = 0
CHANGE_CHAIN: Final = 1

HARDENED: Final = 1 << 31
ACCOUNT_DEPTH: Final = 3
CURVE_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141

_EXTENDED_BYTES: Final = 78


class _Confidential:
    """Something that is never shown or copied out of its process."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise KeyInvalid("Keys are not pickled or copied.")


class _Node(_Confidential):
    """A public key and the chain code beside it."""

    __slots__ = ("chain_code", "point", "serialized")

    def __init__(self, point: PublicKey, chain_code: bytes) -> None:
        self.point = point
        self.serialized = point.format()
        self.chain_code = chain_code

    def derive(self, index: int) -> "_Node":
        tweak, chain_code = _derive(self.chain_code, self.serialized, _check_index(index))
        return _Node(self._add(tweak), chain_code)

    def derive_key(self, index: int) -> bytes:
        """Return the compressed public key of a child, without what only its own children would need."""
        tweak, _ = _derive(self.chain_code, self.serialized, _check_index(index))
        return self._add(tweak).format()

    def _add(self, tweak: bytes) -> PublicKey:
        try:
            return self.point.add(tweak)
        except ValueError:
            raise KeyInvalid("BIP 32 has no key at this index; take the next.") from None


class AccountPublicKey(_Confidential):
    """The public half of an account: derives every address of it, spends nothing."""

    __slots__ = ("_chains", "_node", "_xpub", "account", "identifier", "network")

    def __init__(self, xpub: str, network: Network) -> None:
        """Read the extended public key of an account.

        :raises KeyInvalid: no extended public key of an account of this network
        """
        payload = _read_extended(xpub, network.xpub_versions, "public")
        self._node = _Node(_read_point(payload[45:]), payload[13:45])
        self._chains = tuple(self._node.derive(chain) for chain in (DEPOSIT_CHAIN, CHANGE_CHAIN))
        self._xpub = xpub
        self.network = network
        self.account = int.from_bytes(payload[9:13], "big") - HARDENED
        self.identifier = hash160(payload[13:]).hex()
        """Names the account everywhere; says nothing about its keys."""

    def __repr__(self) -> str:
        return f"<AccountPublicKey {self.network.name} {self.identifier[:8]}>"

    def get_public_key(self, chain: int, index: int) -> bytes:
        """Return the compressed public key m/chain/index below the account.

        :raises KeyInvalid: another chain than 0 and 1, or a hardened index
        """
        if chain not in (DEPOSIT_CHAIN, CHANGE_CHAIN):
            raise KeyInvalid("An account has the chains 0 (deposits) and 1 (change).")
        return self._chains[chain].derive_key(index)

    def get_address(self, chain: int, index: int) -> str:
        """Return the P2PKH address of m/chain/index below the account.

        :raises KeyInvalid: another chain than 0 and 1, or a hardened index
        """
        return p2pkh_address(hash160(self.get_public_key(chain, index)), self.network)

    def export(self) -> str:
        """Return the extended public key itself, for configuration files. Never log, serialize or show it."""
        return self._xpub


class AccountKey(_Confidential):
    """The private half of an account. Lives in the signer's process, and nowhere else."""

    __slots__ = ("_chain_code", "_metadata", "_secret", "network", "public")

    def __init__(self, xprv: str, network: Network) -> None:
        """Read the extended private key of an account.

        :raises KeyInvalid: no extended private key of an account of this network
        """
        payload = _read_extended(xprv, network.xprv_versions, "private")
        if payload[45] != 0 or not 0 < int.from_bytes(payload[46:], "big") < CURVE_ORDER:
            raise KeyInvalid("The extended private key holds no private key.")
        self._secret = payload[46:]
        self._chain_code = payload[13:45]
        self._metadata = payload[4:13]
        self.network = network
        self.public = AccountPublicKey(self._export_public(), network)

    def __repr__(self) -> str:
        return f"<AccountKey {self.network.name} {self.public.identifier[:8]}>"

    @classmethod
    def from_seed(cls, seed: bytes, network: Network, account: int = 0) -> Self:
        """Return the account of a BIP 39 seed: m/44'/coin_type'/account'.

        :raises KeyInvalid: a seed of less than 16 or more than 64 bytes
        """
        if not 16 <= len(seed) <= 64:
            raise KeyInvalid("A seed has 16 to 64 bytes.")
        digest = hmac.digest(b"Bitcoin seed", seed, "sha512")
        secret, chain_code, parent = digest[:32], digest[32:], b"\0" * 4
        for step in (44, network.coin_type, account):
            public = PrivateKey(secret).public_key.format()
            parent = hash160(public)[:4]
            secret, chain_code = _derive_private(
                secret, chain_code, b"\0" + secret, HARDENED + _check_index(step)
            )
        metadata = bytes([ACCOUNT_DEPTH]) + parent + (HARDENED + account).to_bytes(4, "big")
        version = sorted(network.xprv_versions)[-1]
        return cls(encode_base58check(version + metadata + chain_code + b"\0" + secret), network)

    def get_child(self, chain: int, index: int) -> "ChildKey":
        """Return what signs for m/chain/index below the account.

        :raises KeyInvalid: another chain than 0 and 1, or a hardened index
        """
        if chain not in (DEPOSIT_CHAIN, CHANGE_CHAIN):
            raise KeyInvalid("An account has the chains 0 (deposits) and 1 (change).")
        secret, chain_code = self._secret, self._chain_code
        for step in (chain, index):
            public = PrivateKey(secret).public_key.format()
            secret, chain_code = _derive_private(secret, chain_code, public, _check_index(step))
        return ChildKey(PrivateKey(secret))

    def export(self) -> str:
        """Return the extended private key itself, to be stored where secrets are. Never log, serialize or show it."""
        version = sorted(self.network.xprv_versions)[-1]
        return encode_base58check(
            version + self._metadata + self._chain_code + b"\0" + self._secret
        )

    def _export_public(self) -> str:
        version = sorted(self.network.xpub_versions)[-1]
        public = PrivateKey(self._secret).public_key.format()
        return encode_base58check(version + self._metadata + self._chain_code + public)


class ChildKey(_Confidential):
    """The private key of one address, which signs and is not given away."""

    __slots__ = ("_key",)

    def __init__(self, key: PrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> bytes:
        return self._key.public_key.format()

    def sign(self, digest: bytes) -> bytes:
        """Return the DER signature of a digest: RFC 6979, low s."""
        return self._key.sign(digest, hasher=None)


@dataclass(frozen=True, slots=True)
class KeyPath:
    """Where below its account a key is."""

    chain: int
    index: int


def is_signature_of(public_key: bytes, signature: bytes, digest: bytes) -> bool:
    """Tell whether a DER signature of a digest is of this key."""
    try:
        return PublicKey(public_key).verify(signature, digest, hasher=None)
    except ValueError:
        return False


def _derive(chain_code: bytes, data: bytes, index: int) -> tuple[bytes, bytes]:
    digest = hmac.digest(chain_code, data + index.to_bytes(4, "big"), hashlib.sha512)
    return digest[:32], digest[32:]


def _derive_private(
    secret: bytes, chain_code: bytes, data: bytes, index: int
) -> tuple[bytes, bytes]:
    tweak, chain_code = _derive(chain_code, data, index)
    number = int.from_bytes(tweak, "big")
    child = (number + int.from_bytes(secret, "big")) % CURVE_ORDER
    if number >= CURVE_ORDER or child == 0:
        raise KeyInvalid("BIP 32 has no key at this index; take the next.")
    return child.to_bytes(32, "big"), chain_code


def _check_index(index: int) -> int:
    if not isinstance(index, int) or not 0 <= index < HARDENED:
        raise KeyInvalid("An index is a number from 0 to 2^31 - 1.")
    return index


def _read_extended(text: str, versions: frozenset[bytes], kind: str) -> bytes:
    """Return the payload of an extended key of an account. No error repeats any of it."""
    try:
        payload = decode_base58check(text)
    except ValueError:
        raise KeyInvalid(f"It is no extended {kind} key.") from None
    if len(payload) != _EXTENDED_BYTES or payload[:4] not in versions:
        raise KeyInvalid(f"It is no extended {kind} key of this network.")
    if payload[4] != ACCOUNT_DEPTH or not payload[9] & 0x80:
        raise KeyInvalid(
            f"The extended {kind} key is not that of an account, m/44'/coin'/account'."
        )
    return payload


def _read_point(data: bytes) -> PublicKey:
    try:
        return PublicKey(data)
    except ValueError:
        raise KeyInvalid("The extended public key holds no point of the curve.") from None
