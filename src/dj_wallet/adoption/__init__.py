"""Taking over a database of release 0.1.0: what is wrong with it, and the opening entries of its wallets."""
