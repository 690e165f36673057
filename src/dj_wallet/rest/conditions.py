"""Conditional requests: https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests."""

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.utils.http import parse_etags
from rest_framework.request import Request

from .errors import PreconditionFailed


def tag(version: int, changed_at: datetime) -> str:
    """Return a strong entity tag of something that has a version and a time of change."""
    return f'"{version}-{int(changed_at.timestamp() * 1_000_000)}"'


def tag_body(body: Mapping[str, Any]) -> str:
    """Return a strong entity tag of an answer that more than one row makes."""
    return f'"{sha256(json.dumps(body).encode()).hexdigest()[:32]}"'


def is_known(request: Request, current: str) -> bool:
    """Tell whether the caller has what it asks for already (If-None-Match)."""
    known = parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))
    return "*" in known or current in {one.removeprefix("W/") for one in known}


def check_precondition(request: Request, current: str) -> None:
    """Refuse to change what is no longer as the caller saw it (If-Match).

    :raises PreconditionFailed: it has changed
    """
    given = request.META.get("HTTP_IF_MATCH")
    if given is not None and not {"*", current} & set(parse_etags(given)):
        raise PreconditionFailed
