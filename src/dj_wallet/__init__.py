"""Wallets for any Django model, over one double-entry ledger."""

__version__ = "0.2.0"
