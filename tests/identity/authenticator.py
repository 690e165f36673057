"""A passkey in software: makes a key pair for a site and signs its challenges, as a browser would send them."""

import hashlib
import json
import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

FLAGS = AuthenticatorData.FLAG
PRESENT = FLAGS.UP | FLAGS.UV


class Passkey:
    """One key for one site."""

    def __init__(self, origin: str = "https://testserver") -> None:
        self.origin = origin
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = os.urandom(16)
        self.user = b""

    def create(self, options: dict[str, Any]) -> str:
        """Answer the options of a registration."""
        asked = options["publicKey"]
        self.user = asked["user"]["id"].encode()
        self.site = asked["rp"]["id"]
        public = ES256.from_cryptography_key(self.key.public_key())
        made = AttestedCredentialData.create(Aaguid(b"\0" * 16), self.id, public)
        data = AuthenticatorData.create(self._hash(), PRESENT | FLAGS.AT, 0, made)
        answer = {"attestationObject": websafe_encode(AttestationObject.create("none", data, {}))}
        return self._answer("webauthn.create", asked["challenge"], answer)

    def sign(self, options: dict[str, Any]) -> str:
        """Answer the options of a sign-in."""
        challenge = options["publicKey"]["challenge"]
        data = AuthenticatorData.create(self._hash(), PRESENT, 1)
        client = self._describe("webauthn.get", challenge)
        signature = self.key.sign(bytes(data) + client.hash, ec.ECDSA(SHA256()))
        answer = {
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(signature),
            "userHandle": self.user.decode(),
        }
        return self._answer("webauthn.get", challenge, answer)

    def _hash(self) -> bytes:
        return hashlib.sha256(self.site.encode()).digest()

    def _describe(self, kind: str, challenge: str) -> CollectedClientData:
        return CollectedClientData.create(type=kind, challenge=challenge, origin=self.origin)

    def _answer(self, kind: str, challenge: str, response: dict[str, Any]) -> str:
        name = websafe_encode(self.id)
        client = websafe_encode(self._describe(kind, challenge))
        return json.dumps(
            {
                "type": "public-key",
                "id": name,
                "rawId": name,
                "response": {"clientDataJSON": client, **response},
                "clientExtensionResults": {"credProps": {"rk": True}},
                "authenticatorAttachment": "platform",
            }
        )
