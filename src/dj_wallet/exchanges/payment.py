"""What a payer's wallet reads: payment URIs and QR codes. Nothing is offered that would lose a tag."""

from io import BytesIO
from typing import Final
from urllib.parse import quote, urlencode

import segno

from .errors import CodeNotAvailable
from .models import DepositAddress
from .venues.networks import NETWORKS

# The coin that each network's URI pays; tokens would need their contract, which exchanges do not all tell.
SCHEMES: Final = {
    "bitcoin": ("BTC", "bitcoin"),
    "litecoin": ("LTC", "litecoin"),
    "dogecoin": ("DOGE", "dogecoin"),
    "dash": ("DASH", "dash"),
    "solana": ("SOL", "solana"),
}
NATIVE_OF_EVM: Final = {
    "ethereum": "ETH",
    "arbitrum": "ETH",
    "optimism": "ETH",
    "base": "ETH",
    "bsc": "BNB",
    "polygon": "POL",
    "avalanche": "AVAX",
}


def make_payment_uri(address: DepositAddress) -> str | None:
    """Return the URI by which a wallet pays to the address, tag included, or None where no standard says how.

    BIP-21 and its likes, EIP-681, SEP-7, the XRP Ledger's and TON's.
    """
    network, coin, to, tag = address.network, address.currency, address.address, address.tag
    if address.tag_required and not tag:
        return None
    if SCHEMES.get(network, ("", ""))[0] == coin:
        return f"{SCHEMES[network][1]}:{to}"
    if network == "bitcoin-cash" and coin == "BCH":
        return to if to.startswith("bitcoincash:") else f"bitcoincash:{to}"
    if NATIVE_OF_EVM.get(network) == coin:
        return f"ethereum:{to}@{NETWORKS[network].caip2.partition(':')[2]}"
    if (network, coin) == ("xrp", "XRP"):
        return f"xrpl:{to}" + (f"?dt={tag}" if tag else "")
    if (network, coin) == ("stellar", "XLM"):
        return _make_stellar_uri(to, tag)
    if (network, coin) == ("ton", "TON"):
        return f"ton://transfer/{to}" + (f"?text={quote(tag, safe='')}" if tag else "")
    return None


def _make_stellar_uri(to: str, tag: str | None) -> str:
    query = {"destination": to}
    if tag:
        kind = "MEMO_ID" if tag.isdecimal() and int(tag) < 2**64 else "MEMO_TEXT"
        query |= {"memo": tag, "memo_type": kind}
    return f"web+stellar:pay?{urlencode(query, quote_via=quote)}"


def make_qr_code(address: DepositAddress) -> bytes:
    """Return an SVG: of the payment URI, else of the bare address if that is all a deposit needs.

    :raises CodeNotAvailable: the deposit needs a tag that no URI of this network carries
    """
    content = make_payment_uri(address)
    if content is None and address.tag:
        raise CodeNotAvailable(
            "Deposits here need a tag beside the address, and no QR code says both.",
            venue=address.exchange_id,
            currency=address.currency,
            network=address.network,
        )
    image = BytesIO()
    segno.make(content or address.address, error="m").save(image, kind="svg", scale=6, border=4)
    return image.getvalue()
