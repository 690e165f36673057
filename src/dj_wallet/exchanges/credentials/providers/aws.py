"""AWS KMS: the key never leaves it, and CloudTrail records each use with the account it was for."""

from base64 import urlsafe_b64encode
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dj_wallet.exchanges.errors import KeyUnavailable, SealBroken

from . import need

# What says that the text, not the service, is at fault.
BROKEN = {"InvalidCiphertextException", "IncorrectKeyException"}


class AwsKeys:
    """A symmetric key of KMS. Its own rotation needs no re-wrapping; another key does."""

    name = "aws"

    def __init__(self, client: Any, key_id: str) -> None:
        self._client, self._key_id = client, key_id

    @property
    def primary(self) -> str:
        return self._key_id

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        answer = self._call(
            "encrypt", KeyId=self._key_id, Plaintext=data_key, EncryptionContext=_context(context)
        )
        wrapped: bytes = answer["CiphertextBlob"]
        return wrapped

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        answer = self._call(
            "decrypt", KeyId=key_id, CiphertextBlob=wrapped, EncryptionContext=_context(context)
        )
        data_key: bytes = answer["Plaintext"]
        return data_key

    def _call(self, verb: str, **arguments: Any) -> Any:
        failure: Exception
        try:
            return getattr(self._client, verb)(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            failure = (
                SealBroken("The stored credentials cannot be read.")
                if code in BROKEN
                else KeyUnavailable(f"AWS KMS refused: {code}.")
            )
        except BotoCoreError as error:
            failure = KeyUnavailable(f"AWS KMS cannot be reached: {type(error).__name__}.")
        raise failure


def make_provider(options: dict[str, str]) -> AwsKeys:
    """Return the key of the options; who we are is AWS's own business (role, environment, profile)."""
    key_id, region = need(options, "WALLET_EXCHANGE_AWS_KEY", "WALLET_EXCHANGE_AWS_REGION")
    config = Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 2})
    return AwsKeys(boto3.client("kms", region_name=region, config=config), key_id)


def _context(context: bytes) -> dict[str, str]:
    return {"record": urlsafe_b64encode(context).decode()}
