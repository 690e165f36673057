"""How a key is made that may read deposit addresses and nothing more. Shown with refusals and by /info."""

from typing import Final

GUIDES: Final = {
    "binance": "API Management > Create API: leave only Enable Reading ticked, restrict access to trusted IPs, and leave Enable "
    "Withdrawals and Permits Universal Transfer unticked.",
    "coinbase": "API keys > Create: tick View only (Receive as well if new addresses are to be made), never Transfer or Send; set "
    "the IP allowlist.",
    "kraken": "Settings > API > Create key: tick Query Funds and Deposit Funds (which shows deposit addresses), never Withdraw Funds; "
    "set IP address restriction and a nonce window of 0.",
    "bitfinex": "API keys > Create New Key: under Wallets allow reading, and Deposit Addresses where it is asked for; leave Withdraw "
    "off; allow access from our IPs only.",
    "htx": "API Management > Create: tick Read-only, never Withdraw; bind IP addresses, or the key ends after 90 days.",
    "kucoin": "API Management > Create API: tick General only, never Withdraw or Transfer; set a passphrase and the IP restriction.",
    "bybit": "API > Create New Key: choose Read-Only and tick Wallet (Account Transfer) to read; never Withdrawal; bind IP addresses, or "
    "the key ends after 90 days.",
    "okx": "API > Create API key: tick Read only, never Withdraw; set a passphrase and link IP addresses.",
}
GENERIC_GUIDE: Final = (
    "Make a key that may only read, without the right to withdraw, and tie it to our IP addresses."
)


def get_guide(exchange_id: str) -> str:
    """Return how the owner makes a key of least privilege at an exchange."""
    return GUIDES.get(exchange_id, GENERIC_GUIDE)
