"""The double-entry ledger. Balances change in one function only: `dj_wallet.ledger.post`."""
