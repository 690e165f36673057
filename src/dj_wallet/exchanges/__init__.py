"""Exchange accounts of users and their deposit addresses (seed 002), through the real CCXT client."""
