"""What the runtime is told: from Django's settings, in this one place."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where the limits are kept, and where sandbox accounts are connected to."""

    redis_url: str
    # host:port of wallet_sandbox.exchanges, and the certificate of its authority. Without it sandbox accounts are refused.
    sandbox_address: str = ""
    sandbox_ca_file: str = ""
    # Names the IP address that venues see us under: processes that share it share its limits.
    egress: str = "default"
    max_clients: int = 500
    idle_seconds: int = 900


def get_fetch_seconds() -> float:
    """Read EXCHANGES_FETCH_SECONDS: how long a user waits for an exchange to name an address."""
    return float(getattr(settings, "EXCHANGES_FETCH_SECONDS", 2))


def get_test_seconds() -> float:
    """Read EXCHANGES_TEST_SECONDS: how long a user waits for the test of a connection, and for a list of currencies."""
    return float(getattr(settings, "EXCHANGES_TEST_SECONDS", 5))


def from_settings() -> Configuration:
    """Read EXCHANGES_REDIS_URL, EXCHANGES_SANDBOX_ADDRESS, EXCHANGES_SANDBOX_CA_FILE, EXCHANGES_EGRESS and
    EXCHANGES_MAX_CLIENTS."""
    return Configuration(
        redis_url=settings.EXCHANGES_REDIS_URL,
        sandbox_address=getattr(settings, "EXCHANGES_SANDBOX_ADDRESS", ""),
        sandbox_ca_file=getattr(settings, "EXCHANGES_SANDBOX_CA_FILE", ""),
        egress=getattr(settings, "EXCHANGES_EGRESS", "default"),
        max_clients=getattr(settings, "EXCHANGES_MAX_CLIENTS", 500),
    )
