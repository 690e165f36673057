"""API keys over HTTP: listed, made, rolled, revoked."""
