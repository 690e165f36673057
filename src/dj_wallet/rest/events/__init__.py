"""Events over REST: the feed, webhooks, and what became of deliveries."""
