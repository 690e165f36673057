"""The id of a request: taken from the client if it is harmless, sent back, and written into every log line."""

import logging
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

HEADER: Final = "X-Request-ID"
HARMLESS: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdMiddleware:
    """Gives each request an id. Comes first, so that every answer carries it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get(HEADER, "")
        # Never reset: Django logs refused requests after the last middleware has returned.
        request_id.set(given if HARMLESS.fullmatch(given) else uuid4().hex)
        # For those below the interface, who write it down.
        request.request_id = request_id.get()  # type: ignore[attr-defined]
        response = self.get_response(request)
        response[HEADER] = request_id.get()
        return response


class RequestIdFilter(logging.Filter):
    """Makes the id available to log formats as %(request_id)s."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True
