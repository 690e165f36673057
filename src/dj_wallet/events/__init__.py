"""What happened, told to others: a transactional outbox and the sinks that empty it."""
