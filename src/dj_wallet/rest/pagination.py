"""Pages: `{"next": url | null, "previous": url | null, "results": [...]}`, newest first."""

from collections.abc import Sequence
from typing import Any

from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from .rendered import Rendered, render_page

MAX_ID_DIGITS = 18


class NewestFirst(CursorPagination):
    """Pages by primary key, so that they stay put while new rows arrive."""

    ordering = "-pk"
    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"
    cursor_query_description = "From `next` or `previous` of another page."
    page_size_query_description = "How many results, at most 200."

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Return the cursor of the request.

        :raises ValidationError: it is not one of ours
        """
        try:
            cursor = super().decode_cursor(request)
        except NotFound:
            raise refuse_cursor() from None
        position = None if cursor is None else cursor.position
        if position is not None and not _is_id(str(position)):
            raise refuse_cursor()
        return cursor

    def get_page_size(self, request: Request) -> int | None:
        """Return how many results the page may have.

        :raises ValidationError: `limit` is not a positive whole number
        """
        given = request.query_params.get(self.page_size_query_param)
        if given is not None and not (_is_id(given) and int(given) > 0):
            raise ValidationError({"limit": ["Must be a positive whole number."]})
        return super().get_page_size(request)

    def render_first(
        self, members: Sequence[tuple[int, bytes]], request: Request
    ) -> Rendered | None:
        """Return the first page of a list that is here as a whole, newest first: primary keys and rendered members.

        None if the request asks for another page.

        :raises ValidationError: `limit` is not a positive whole number
        """
        if self.cursor_query_param in request.query_params:
            return None
        size = self.get_page_size(request) or self.max_page_size
        page = members[:size]
        following = None
        if len(members) > size:
            self.base_url = request.build_absolute_uri()
            following = self.encode_cursor(Cursor(0, False, page[-1][0]))
        return render_page([body for _, body in page], following)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the page's schema in the words of OpenAPI 3.1, which knows no `nullable`."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS


def refuse_cursor() -> ValidationError:
    """Return the refusal of a cursor that nobody was given."""
    return ValidationError({"cursor": ["This cursor is not one of ours."]})
