"""Coins on their chains: addresses, deposits, withdrawals, and the proof that chain and ledger agree (seed 001)."""
