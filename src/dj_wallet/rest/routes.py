"""How paths are made."""

from typing import Any

from django.urls import URLPattern, path


def either(route: str, view: Any, name: str) -> list[URLPattern]:
    """Return the route and its twin with or without the last slash, which the schema leaves out."""
    twin = route.removesuffix("/") if route.endswith("/") else f"{route}/"
    return [path(route, view.as_view(), name=name), path(twin, view.as_view(schema=None))]
