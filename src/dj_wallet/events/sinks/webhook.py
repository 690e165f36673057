"""Signed webhooks: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

The address is typed by users, so the connection itself refuses to reach into our own network: names are resolved here
and only public addresses are connected to. Redirects are not followed.
"""

import base64
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

import httpcore
from django.conf import settings
from django.utils import timezone

from dj_wallet.events.models import Delivery, Destination
from dj_wallet.events.secrets import PREFIX, open_sealed

from . import SEND_SECONDS, Outcome, Result, build_message, to_json

BATCH_SIZE: Final = 20
TIMEOUT_SECONDS: Final = 10
TOTAL_SECONDS: Final = 20
MAX_KEPT_BYTES: Final = 300
# An address that reaches IPv4 through a translator; not all of them count as private.
TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")


class AddressForbidden(httpcore.ConnectError):
    """The name leads into a network that is not public."""


class Webhook:
    """Posts events one by one, each signed with the secrets that are in force."""

    batch_size = BATCH_SIZE

    @cached_property
    def _pool(self) -> httpcore.ConnectionPool:
        return httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            network_backend=PublicNetwork(),
            # A connection lives as long as its deadline, which is that of one message.
            max_keepalive_connections=0,
        )

    def send(self, destination: Destination, deliveries: Sequence[Delivery]) -> list[Result]:
        """Post the events in order until one cannot be reached any more."""
        secrets = _list_secrets(destination)
        results: list[Result] = []
        failed: set[str] = set()
        deadline = time.monotonic() + SEND_SECONDS
        for delivery in deliveries:
            # A predecessor of the same subject has to arrive first.
            if delivery.subject in failed or time.monotonic() > deadline:
                break
            results.append(self._post(destination.url, delivery, secrets))
            if results[-1].outcome in {Outcome.UNREACHABLE, Outcome.GONE}:
                break
            if results[-1].outcome != Outcome.DELIVERED:
                failed.add(delivery.subject)
        return results

    def _post(self, url: str, delivery: Delivery, secrets: Sequence[str]) -> Result:
        body = to_json(build_message(delivery.event)).encode()
        headers = build_headers(str(delivery.event.uuid), int(time.time()), body, secrets)
        started = time.monotonic()
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_SECONDS)
        try:
            with self._pool.stream(
                "POST", url, headers=headers, content=body, extensions={"timeout": timeout}
            ) as response:
                said = _read_start(response.iter_stream())
                outcome = _judge(response.status)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            return Result(Outcome.UNREACHABLE, type(error).__name__, _since(started))
        return Result(outcome, f"{response.status} {said}".strip(), _since(started))


class PublicNetwork(httpcore.SyncBackend):
    """Connects to public addresses only, unless the settings allow others."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to an address that the host's name has now.

        :raises AddressForbidden: it has none that may be connected to
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = [str(entry[4][0]) for entry in found]
        allowed = [address for address in addresses if is_allowed(address)]
        if not allowed:
            raise AddressForbidden("The address is not public.")
        stream = super().connect_tcp(allowed[0], port, timeout, local_address, socket_options)
        return PatientStream(stream, time.monotonic() + TOTAL_SECONDS)


class PatientStream(httpcore.NetworkStream):
    """A connection with a deadline: an answer that drips must not hold a worker for ever."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self.stream = stream
        self.deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """:raises httpcore.ReadTimeout: the deadline has passed"""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("The answer drips.")
        return self.stream.read(max_bytes, min(left, timeout or left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, timeout)

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return PatientStream(
            self.stream.start_tls(ssl_context, server_hostname, timeout), self.deadline
        )

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


def is_allowed(address: str) -> bool:
    """Tell whether webhooks may be sent to this IP address."""
    if settings.WEBHOOKS_TO_PRIVATE_ADDRESSES:
        return True
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in TRANSLATED or ip.teredo:
            return False
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def build_headers(
    message_id: str, timestamp: int, body: bytes, secrets: Sequence[str]
) -> list[tuple[str | bytes, str | bytes]]:
    """Return the headers of a signed message."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return [
        ("Content-Type", "application/json"),
        ("User-Agent", "dj-wallets"),
        ("webhook-id", message_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(f"v1,{_sign(secret, signed)}" for secret in secrets)),
    ]


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _list_secrets(destination: Destination) -> list[str]:
    """Return the secrets that receivers may hold now, the newest first."""
    until = destination.old_secret_until
    both = until is not None and until > timezone.now()
    sealed = [destination.secret, destination.old_secret] if both else [destination.secret]
    return [open_sealed(secret) for secret in sealed]


def _judge(status: int) -> Outcome:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome.DELIVERED
    if status == HTTPStatus.GONE:
        return Outcome.GONE
    overloaded = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}  # fmt: skip
    return Outcome.UNREACHABLE if status in overloaded else Outcome.RETRY


def _read_start(stream: Iterable[bytes]) -> str:
    """Return the first piece of the answer; the rest is not waited for."""
    first = next(iter(stream), b"")[:MAX_KEPT_BYTES]
    return first.decode(errors="replace").replace("\x00", "\ufffd")


def _since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
