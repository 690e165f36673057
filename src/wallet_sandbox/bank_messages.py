"""Messages that the simulated bank sends: signed as the Standard Webhooks say, kept, and delivered if somebody asked."""

import json
import logging
import threading
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from standardwebhooks.webhooks import Webhook

logger = logging.getLogger(__name__)

KEPT = 10_000


class Messages:
    """What was told to others. With an address it is also sent there, as often as `copies` says."""

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)
        self._lock = threading.Lock()
        self._sent: list[dict[str, Any]] = []
        self.url = ""
        self.copies = 1
        self.before_answer = False

    def tell(self, payment: Mapping[str, Any]) -> None:
        """Tell what is known of a payment now."""
        names = ("id", "reference", "amount", "currency", "state", "code", "paid_at", "reason")
        body = json.dumps({name: payment[name] for name in names if name in payment})
        message_id, now = f"msg_{uuid4().hex}", datetime.now(UTC)
        message = {
            "headers": {
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": self._webhook.sign(message_id, now, body),
            },
            "body": body,
        }
        with self._lock:
            self._sent.append(message)
            del self._sent[:-KEPT]
        if not self.url:
            return
        if self.before_answer:
            self._deliver(message)
        else:
            threading.Thread(target=self._deliver, args=[message], daemon=True).start()

    def list(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._sent)

    def clear(self) -> None:
        with self._lock:
            self._sent.clear()
        self.url, self.copies, self.before_answer = "", 1, False

    def _deliver(self, message: Mapping[str, Any]) -> None:
        headers = {**message["headers"], "Content-Type": "application/json"}
        for _ in range(self.copies):
            request = urllib.request.Request(  # noqa: S310 - the address is the tester's
                self.url, message["body"].encode(), headers, method="POST"
            )
            try:
                urllib.request.urlopen(request, timeout=5).close()  # noqa: S310
            except OSError as error:
                logger.warning("Nobody took the message: %s", error)
