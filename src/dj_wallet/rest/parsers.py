"""Reading a request's JSON. What comes out holds dicts, lists, str, int, Decimal, bool and None: never a float."""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import IO, Any, Final, NoReturn

from django.conf import settings
from rest_framework.parsers import BaseParser

from .errors import BodyTooLarge, JSONInvalid

MAX_DEPTH: Final = 32
MAX_NUMBER_LENGTH: Final = 100


class StrictJSONParser(BaseParser):
    """Accepts one JSON object in UTF-8, without duplicate names and without what a database cannot store."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the object.

        :raises BodyTooLarge: more than DATA_UPLOAD_MAX_MEMORY_SIZE bytes, of which no more are read
        :raises JSONInvalid: anything but such an object
        """
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return parse_object(body)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that the bytes spell.

    :raises JSONInvalid: they spell no such object
    """
    try:
        value = _DECODER.decode(body.decode())
    except UnicodeDecodeError:
        raise JSONInvalid("The body is not UTF-8.") from None
    except RecursionError:
        raise JSONInvalid("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise JSONInvalid(f"{error.msg} at line {error.lineno}, column {error.colno}.") from None
    if not isinstance(value, dict):
        raise JSONInvalid("The body must be a JSON object.")
    # Only an escape can spell NUL or half a character, and only brackets can nest: most bodies need no second look.
    if b"\\u" in body or body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check(value)
    return value


def _check(root: dict[str, Any]) -> None:
    """:raises JSONInvalid: nested too deeply, or with characters that UTF-8 or the database cannot hold"""
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        texts, level = _open(level)
        if any("\x00" in text or not _is_unicode(text) for text in texts):
            raise JSONInvalid("Strings must not contain NUL or lone surrogates.")
        if not level:
            return
    raise JSONInvalid(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _open(level: list[Any]) -> tuple[list[str], list[Any]]:
    """Return the strings in these containers, and the containers in them."""
    texts: list[str] = []
    inner: list[Any] = []
    for container in level:
        values = container.values() if isinstance(container, dict) else container
        if isinstance(container, dict):
            texts.extend(container)
        for value in values:
            if isinstance(value, str):
                texts.append(value)
            elif isinstance(value, dict | list):
                inner.append(value)
    return texts, inner


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise JSONInvalid("An object names the same field twice.")
    return names


def _parse_int(text: str) -> int:
    if len(text) > MAX_NUMBER_LENGTH:
        raise JSONInvalid(f"A number has more than {MAX_NUMBER_LENGTH} characters.")
    return int(text)


def _parse_fraction(text: str) -> Decimal:
    if len(text) > MAX_NUMBER_LENGTH:
        raise JSONInvalid(f"A number has more than {MAX_NUMBER_LENGTH} characters.")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise JSONInvalid("A number is out of range.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise JSONInvalid(f"{name} is not JSON.")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_build_object,
    parse_int=_parse_int,
    parse_float=_parse_fraction,
    parse_constant=_refuse_constant,
)
