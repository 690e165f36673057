"""The ledger as a service of its own: accounts of owners that live in somebody else's database."""
