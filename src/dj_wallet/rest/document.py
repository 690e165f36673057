"""The OpenAPI document, and the page to read it at. Anybody may ask, and making it takes a second: each process does once."""

from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.plumbing import set_query_parameters
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request


class DocumentView(SpectacularAPIView):
    """The document, as YAML or JSON."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        return HttpResponse(
            render_document(renderer.media_type, settings.ROOT_URLCONF),
            content_type=f"{renderer.media_type}; charset=utf-8",
            headers={"Content-Disposition": f'inline; filename="dj-wallets.{renderer.format}"'},
        )


@cache
def render_document(media_type: str, urlconf: str) -> bytes:
    """Return the document of these paths."""
    kinds: Any = DocumentView.renderer_classes
    renderer = next(kind() for kind in kinds if kind.media_type == media_type)
    generator: Any = DocumentView.generator_class(urlconf=urlconf)
    text = renderer.render(generator.get_schema(request=None, public=True), renderer_context={})
    return text.encode() if isinstance(text, str) else bytes(text)


class DocsView(SpectacularSwaggerSplitView):
    """The page, which reads the document as JSON: browsers take long to read as much YAML."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []
    url_name = "schema"

    def _get_schema_url(self, request: Request) -> str:
        address = super()._get_schema_url(request)  # type: ignore[no-untyped-call]
        return str(set_query_parameters(address, format="json"))
