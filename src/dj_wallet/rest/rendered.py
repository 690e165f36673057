"""Answers that are text already, because a cache kept them so."""

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework.renderers import JSONRenderer


class Rendered(bytes):
    """The JSON of an answer."""


class ReadyJSONRenderer(JSONRenderer):
    """Renders JSON, and passes on what is rendered."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> Any:
        if isinstance(data, Rendered):
            return bytes(data)
        return super().render(data, accepted_media_type, renderer_context)


def render(value: Any) -> bytes:
    """Return a value as answers have it."""
    text: bytes = _renderer.render(value)
    return text


def render_page(results: Sequence[bytes], following: str | None) -> Rendered:
    """Return the first page of a list whose members are rendered."""
    # The framework renders None as nothing at all.
    link = b"null" if following is None else render(following)
    joined = b",".join(results)
    return Rendered(b'{"next":' + link + b',"previous":null,"results":[' + joined + b"]}")


_renderer = JSONRenderer()
