"""The ledger service over REST: accounts and movements, for other services only."""
