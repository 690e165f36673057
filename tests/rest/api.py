"""A client of the API that holds every answer against the OpenAPI document."""

import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jsonschema
from django.test import Client
from django.urls import resolve
from drf_spectacular.generators import SchemaGenerator

# What any path answers before or after a view is asked; the document leaves these out.
EMPTY = {204, 304}
EVERYWHERE = {404, 405, 406, 411}


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The code of an error."""
        return str(self.body["error"]["code"])


class Api:
    """Speaks to the API with one key."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, b"", **headers)

    def post(
        self, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> Answer:
        """Post a value as JSON; `key` is the idempotency key."""
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.send(
            "POST", path, b"" if body is None else json.dumps(body).encode(), **headers
        )

    def send(self, method: str, path: str, body: bytes, **headers: str) -> Answer:
        """Send the bytes as they are."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        content_type = headers.pop("Content-Type", "application/json")
        response = self.client.generic(method, path, body, content_type, headers=headers)
        if response.status_code in EMPTY:
            assert response.content == b""
            return Answer(response.status_code, None, response.headers)
        if response["Content-Type"] == "image/svg+xml":
            return Answer(response.status_code, response.content, response.headers)
        assert response["Content-Type"] == "application/json", response.content
        answer = Answer(response.status_code, response.json(), response.headers)
        check_is_documented(method, path.partition("?")[0], answer)
        return answer


def check_is_documented(method: str, path: str, answer: Answer) -> None:
    """Fail if the OpenAPI document does not describe this answer."""
    if answer.status >= 400:
        check(
            answer.body,
            {"$ref": "#/components/schemas/ErrorBody"} if "error" in answer.body else {},
        )
    if answer.status in EVERYWHERE:
        return
    operation = find_operation(resolve(path).route, method)
    described = operation["responses"][str(answer.status)]
    check(answer.body, described["content"]["application/json"]["schema"])


def check(body: Any, schema: Mapping[str, Any]) -> None:
    components = get_document()["components"]
    jsonschema.Draft202012Validator({**schema, "components": components}).validate(body)


def find_operation(route: str, method: str) -> Any:
    for documented, operations in get_document()["paths"].items():
        if simplify(documented) == simplify(route) and method.lower() in operations:
            return operations[method.lower()]
    raise AssertionError(f"{method} {route} is not in the OpenAPI document")


def simplify(route: str) -> str:
    """Return the route with its parameters unnamed and without slashes around it."""
    parts = route.strip("/").split("/")
    return "/".join("{}" if part[:1] in {"<", "{"} else part for part in parts)


@functools.cache
def get_document() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)
