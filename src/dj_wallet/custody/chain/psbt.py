"""Moving coins to and from cold storage with partially signed transactions (BIP 174), which every offline signer reads.

The watching side builds the transaction, with the whole previous transactions and where the keys are; the offline side
signs; the watching side checks that what came back is what it asked for, and gets the bytes to broadcast. No node
needs to know PSBT. The private key of cold storage never comes near this code.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from embit import ec
from embit.finalizer import finalize_psbt
from embit.psbt import PSBT, DerivationPath
from embit.transaction import Transaction as EmbitTransaction

from .addresses import find_address
from .errors import TransactionInvalid
from .hashes import hash160
from .keys import HARDENED, AccountPublicKey, is_signature_of
from .networks import Network
from .signer import SignedTransaction, SpentOutput
from .transactions import (
    Transaction,
    hash_for_signature,
    p2pkh_script,
    parse,
    read_p2pkh_signature,
)

PURPOSE: Final = 44


def build_psbt(
    unsigned: Transaction,
    inputs: Sequence[SpentOutput],
    *,
    account: AccountPublicKey,
    master_fingerprint: bytes,
) -> str:
    """Return the transaction as a PSBT in base 64, for the offline signer whose master key has this fingerprint.

    :raises TransactionInvalid: an input is not what it says
    """
    if tuple(item.outpoint for item in unsigned.inputs) != tuple(item.outpoint for item in inputs):
        raise TransactionInvalid("The inputs are not those of the transaction.")
    psbt = PSBT(EmbitTransaction.parse(unsigned.serialize()))
    for scope, item in zip(psbt.inputs, inputs, strict=True):
        _get_spent_amount(item, account)
        public_key = ec.PublicKey.parse(account.get_public_key(item.chain, item.index))
        path = [
            HARDENED + PURPOSE,
            HARDENED + account.network.coin_type,
            HARDENED + account.account,
        ]
        scope.non_witness_utxo = EmbitTransaction.parse(item.previous)
        scope.bip32_derivations[public_key] = DerivationPath(
            master_fingerprint, [*path, item.chain, item.index]
        )
    return str(psbt.to_string())


def describe_psbt(text: str, network: Network) -> Mapping[str, int]:
    """Return what a PSBT pays to whom, for whoever is to sign it to read; a script without address is shown as it is.

    :raises TransactionInvalid: it is no PSBT
    """
    shown: dict[str, int] = {}
    for output in _read(text).tx.vout:
        script = bytes(output.script_pubkey.data)
        name = find_address(script, network) or script.hex()
        shown[name] = shown.get(name, 0) + int(output.value)
    return shown


def finish_psbt(
    text: str,
    unsigned: Transaction,
    inputs: Sequence[SpentOutput],
    *,
    account: AccountPublicKey,
) -> SignedTransaction:
    """Return the signed transaction of a PSBT that came back, if it is the one that was asked for and wholly signed.

    :raises TransactionInvalid: it is another one, or a signature is missing or wrong
    """
    finished = finalize_psbt(_read(text))
    if finished is None:
        raise TransactionInvalid("The PSBT is not signed by all keys.")
    signed = parse(bytes(finished.serialize()))
    bare = tuple(item._replace(script_sig=b"", witness=()) for item in signed.inputs)
    if Transaction(bare, signed.outputs, signed.version, signed.lock_time) != unsigned:
        raise TransactionInvalid("The PSBT that came back is of another transaction.")
    spent = 0
    for at, item in enumerate(inputs):
        spent += _get_spent_amount(item, account)
        _check_signature(signed, at, account.get_public_key(item.chain, item.index))
    fee = spent - sum(output.amount for output in signed.outputs)
    return SignedTransaction(signed.serialize(), signed.txid, fee)


def _read(text: str) -> PSBT:
    try:
        return PSBT.from_string(text)
    except Exception as error:  # noqa: BLE001  (embit raises whatever its readers stumble over)
        raise TransactionInvalid(f"It is no PSBT: {type(error).__name__}.") from None


def _get_spent_amount(item: SpentOutput, account: AccountPublicKey) -> int:
    previous = parse(item.previous)
    if previous.txid != item.outpoint.txid or item.outpoint.vout >= len(previous.outputs):
        raise TransactionInvalid("The previous transaction is another one.")
    output = previous.outputs[item.outpoint.vout]
    if output.script != p2pkh_script(hash160(account.get_public_key(item.chain, item.index))):
        raise TransactionInvalid("The output belongs to another key.")
    return output.amount


def _check_signature(signed: Transaction, at: int, public_key: bytes) -> None:
    signature, signer = read_p2pkh_signature(signed.inputs[at].script_sig)
    digest = hash_for_signature(signed, at, p2pkh_script(hash160(public_key)))
    if signer != public_key or not is_signature_of(public_key, signature, digest):
        raise TransactionInvalid("A signature is not that of the key.")
