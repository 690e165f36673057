"""What a chain of Bitcoin's family is: keys, addresses, transactions, its node and the signer. No Django, no rows."""
