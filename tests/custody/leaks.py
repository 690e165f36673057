"""Every form in which the keys of custody could leak, to be looked for in whatever is shown."""

from embit import bip32

from dj_wallet.custody.chain.hashes import decode_base58check, encode_base58check
from dj_wallet.custody.chain.keys import AccountKey


def list_secrets(key: AccountKey, seed: bytes) -> list[str]:
    """Return the forms of an account's keys, the public half included, of some of its addresses' keys, and of its seed."""
    account = bip32.HDKey.from_seed(seed).derive(f"m/44h/{key.network.coin_type}h/0h")
    children = [account.derive(path) for path in ([0, 0], [1, 0], [0, 5])]
    raw = [one.key.serialize() for one in (account, *children)]
    forms = [
        form
        for one in (*raw, account.chain_code, seed)
        for form in (one.hex(), repr(one)[2:-1], str(int.from_bytes(one, "big")))
    ]
    versions = (key.network.xprv_versions, key.network.xpub_versions)
    halves = (account.to_base58(), account.to_public().to_base58())
    for half, known in zip(halves, versions, strict=True):
        forms += [half, relabel(half, max(known).hex())]
    return [*forms, *(child.key.wif() for child in children)]


def relabel(extended: str, version: str) -> str:
    """Return an extended key with the version bytes of another network."""
    return encode_base58check(bytes.fromhex(version) + decode_base58check(extended)[4:])
