"""Reading blocks: outputs per second, with a thousand and with a million addresses watched.

    python -m wallet_service.embedded python -m bench.ours.scanner

Blocks of 20,000 outputs in 2,000 transactions, 10 of them to addresses of ours, from a node in this process that hands
out the text a real one sends, so that reading it counts. The best of the rounds counts: others share the machine. What
travels to another is the ratio of the two.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import django

XPUB_SEED = bytes(range(64))
TRANSACTIONS = 2_000
OUTPUTS = 10
OURS = 10
ROUNDS = 9
FEW, MANY = 1_000, 1_000_000
NETWORK = "DOGE:regtest"


class BlockSource:
    """A node that has as many blocks as it is asked for."""

    def __init__(self, ours: list[str]) -> None:
        from dj_wallet.custody.chain.networks import get_network

        self.network = get_network(NETWORK)
        self.ours = ours
        self.height = 0
        self.texts: dict[str, str] = {}
        self.grow()

    def check_identity(self) -> dict[str, Any]:
        tip = hash_of(self.height)
        return {"blocks": self.height, "bestblockhash": tip, "chainwork": f"{self.height:064x}"}

    def find_block_hash(self, height: int) -> str | None:
        return hash_of(height)

    def find_block_header(self, block_hash: str) -> dict[str, Any]:
        height = int(block_hash, 16)
        return {"height": height, "chainwork": f"{height:064x}"}

    def get_block(self, block_hash: str) -> Any:
        return json.loads(self.texts[block_hash], parse_float=Decimal)

    def estimate_fee_per_kb(self, blocks: int) -> int | None:
        return None

    def grow(self) -> None:
        """Add a block."""
        self.height += 1
        block = {
            "hash": hash_of(self.height),
            "height": self.height,
            "confirmations": 1,
            "previousblockhash": hash_of(self.height - 1),
            "chainwork": f"{self.height:064x}",
            "tx": list(self._make_transactions()),
        }
        self.texts = {hash_of(self.height): json.dumps(block)}

    def _make_transactions(self) -> Iterator[dict[str, Any]]:
        for number in range(TRANSACTIONS):
            scripts = [make_script(self.height, number, place) for place in range(OUTPUTS)]
            if number < OURS:
                scripts[0] = self.ours[number]
            outputs = [
                {"n": place, "value": 12.5, "scriptPubKey": {"hex": script, "type": "pubkeyhash"}}
                for place, script in enumerate(scripts)
            ]
            said: dict[str, Any] = {
                "version": 1,
                "locktime": 0,
                "vin": [
                    {
                        "txid": hash_of(self.height * 10_000 + number),
                        "vout": 0,
                        "scriptSig": {"asm": "", "hex": "00" * 107},
                        "sequence": 4294967293,
                    }
                ],
                "vout": outputs,
            }
            said["txid"] = find_txid(said)
            yield said


def find_txid(said: dict[str, Any]) -> str:
    from dj_wallet.custody.chain.transactions import Input as Spent
    from dj_wallet.custody.chain.transactions import Outpoint, Output, Transaction

    spent = said["vin"][0]
    inputs = (
        Spent(
            Outpoint(spent["txid"], spent["vout"]),
            bytes.fromhex(spent["scriptSig"]["hex"]),
            spent["sequence"],
        ),
    )
    outputs = tuple(
        Output(1_250_000_000, bytes.fromhex(one["scriptPubKey"]["hex"])) for one in said["vout"]
    )
    return Transaction(inputs, outputs).txid


def hash_of(number: int) -> str:
    return f"{number:064x}"


def make_script(*parts: int) -> str:
    return f"76a914{hashlib.sha1(repr(parts).encode(), usedforsecurity=False).hexdigest()}88ac"


def watch(count: int) -> None:
    """Make addresses up to that many, by the database alone."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dj_wallet_custody_address (uuid, chain_id, key_account_id, purpose, derivation_index,"
            " address, script, wallet_id, is_current, created_at)"
            " SELECT gen_random_uuid(), %s, (SELECT min(id) FROM dj_wallet_custody_keyaccount), 'deposit', n,"
            " 'a' || n, '76a914' || substr(encode(sha256(n::text::bytea), 'hex'), 1, 40) || '88ac',"
            " (SELECT min(wallet_id) FROM dj_wallet_custody_address), false, now()"
            " FROM generate_series((SELECT coalesce(max(derivation_index), 0) + 1 FROM dj_wallet_custody_address),"
            " %s) n",
            [NETWORK, count],
        )
        cursor.execute("ANALYZE dj_wallet_custody_address")


def measure(source: BlockSource) -> tuple[float, float]:
    """Return outputs per second, and the milliseconds in which the scripts of a block are looked up; the best round of each."""
    from dj_wallet.custody.models import Chain
    from dj_wallet.custody.services.scanner import _find_addresses, scan_chain

    seconds, lookups = [], []
    chain = Chain.objects.get(pk=NETWORK)
    for _ in range(ROUNDS):
        source.grow()
        started = time.perf_counter()
        scan_chain(NETWORK, source)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - started)
        scripts = {
            make_script(source.height + 1, n, m)
            for n in range(TRANSACTIONS)
            for m in range(OUTPUTS)
        }
        started = time.perf_counter()
        _find_addresses(chain, scripts)
        lookups.append(time.perf_counter() - started)
    return TRANSACTIONS * OUTPUTS / min(seconds), 1000 * min(lookups)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wallet_service.settings")
    from dj_wallet.custody.chain.keys import AccountKey
    from dj_wallet.custody.chain.networks import get_network

    xpub = AccountKey.from_seed(XPUB_SEED, get_network(NETWORK)).public.export()
    os.environ["CUSTODY_XPUBS"] = f"{NETWORK}={xpub}"
    django.setup()
    from django.core.management import call_command

    from dj_wallet.custody.services.scanner import scan_chain
    from dj_wallet.custody.services.users import generate_deposit_address
    from dj_wallet.identity.models import User

    call_command("migrate", verbosity=0)
    generate_deposit_address(User.objects.create(username="bench").pk)
    ours = [
        f"76a914{hashlib.sha256(str(n).encode()).hexdigest()[:40]}88ac" for n in range(1, OURS + 1)
    ]
    source = BlockSource(ours)
    scan_chain(NETWORK, source)  # type: ignore[arg-type]
    figures = {}
    for count in (FEW, MANY):
        watch(count)
        figures[count] = measure(source)
        rate, lookup = figures[count]
        print(
            f"{count:>9,} addresses: {rate:>7,.0f} outputs/s, scripts looked up in {lookup:.0f} ms"
        )
    print(f"ratio {figures[MANY][0] / figures[FEW][0]:.2f}")


if __name__ == "__main__":
    main()
