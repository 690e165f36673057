"""Pages by UUID: version 7 sorts by time, so the newest come first."""

from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from dj_wallet.rest.fields import CANONICAL_UUID
from dj_wallet.rest.pagination import NewestFirst, refuse_cursor


class NewestByUUID(NewestFirst):
    """Pages by a primary key that is a UUID."""

    # Rows may be tuples, which know no `pk`.
    ordering = "-id"

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Return the cursor of the request.

        :raises ValidationError: it is not one of ours
        """
        try:
            cursor = CursorPagination.decode_cursor(self, request)
        except NotFound:
            raise refuse_cursor() from None
        position = None if cursor is None else cursor.position
        if position is not None and not CANONICAL_UUID.fullmatch(str(position)):
            raise refuse_cursor()
        return cursor
