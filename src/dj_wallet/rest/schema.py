"""What the OpenAPI document says beyond the views: how to sign in, which headers there are, how errors look."""

from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from dj_wallet.identity.signatures import SCHEME

from .headers import MAX_KEY_LENGTH
from .schemas import ErrorBody

REASONS: Final = {
    HTTPStatus.BAD_REQUEST: "The request cannot be read: `invalid_request`, `json_invalid`, ...",
    HTTPStatus.UNAUTHORIZED: "No credential, or one that opens nothing.",
    HTTPStatus.FORBIDDEN: "The credential is good, but not for this: `scope_missing`, `internal_only`, ...",
    HTTPStatus.NOT_FOUND: "There is no such thing, or it is not yours.",
    HTTPStatus.CONFLICT: "The idempotency key was used for something else, the name is taken, or the state does not allow it.",
    HTTPStatus.PRECONDITION_FAILED: "It has changed since you got it.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not application/json.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Refused by a rule: `insufficient_funds`, `wallet_frozen`, ...",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests: wait for Retry-After seconds.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A bug of ours.",
    HTTPStatus.BAD_GATEWAY: "The exchange failed, or answered something that we cannot vouch for.",
    HTTPStatus.GATEWAY_TIMEOUT: "The exchange did not answer in time.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Whether it happened is not known: repeat with the same idempotency key.",
}
EVERYWHERE: Final = (401, 403, 429, 500, 503)
WITH_BODY: Final = (400, 413, 415, 422)


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes `ApiKeyAuthentication`: one key, in either of two headers."""

    target_class = "dj_wallet.rest.authentication.ApiKeyAuthentication"
    name = ["bearer", "apiKey"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "wk_..."},
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes `TokenAuthentication`."""

    target_class = "dj_wallet.rest.authentication.TokenAuthentication"
    name = "accessToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class SignatureScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes `SignatureAuthentication`."""

    target_class = "dj_wallet.rest.authentication.SignatureAuthentication"
    name = "signature"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": f"{SCHEME} Key=..., Timestamp=..., Nonce=..., Signature=...",
        }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes `BrowserAuthentication`."""

    target_class = "dj_wallet.rest.authentication.BrowserAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "With the header X-CSRFToken where something changes.",
        }


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return the documentation of these error statuses and of those that any request can meet."""
    return {
        status: OpenApiResponse(ErrorBody, REASONS[HTTPStatus(status)])
        for status in sorted({*statuses, *EVERYWHERE})
    }


def idempotency_key(*, required: bool) -> OpenApiParameter:
    """Return the documentation of the header Idempotency-Key."""
    return OpenApiParameter(
        name="Idempotency-Key",
        type={"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
        location=OpenApiParameter.HEADER,
        required=required,
        description="Any text that is new for each new intent. The same request with the same key is done once; "
        "repeated, it gets the first answer again, with `Idempotent-Replayed: true`.",
    )


IF_MATCH: Final = OpenApiParameter(
    name="If-Match",
    type=str,
    location=OpenApiParameter.HEADER,
    description="The ETag that you saw: if it has changed since, nothing is changed.",
)
IF_NONE_MATCH: Final = OpenApiParameter(
    name="If-None-Match",
    type=str,
    location=OpenApiParameter.HEADER,
    description="The ETag that you have: if it is still that, the answer is 304 and empty.",
)
ASKED_KEY: Final = OpenApiParameter(
    name="idempotency_key",
    type={"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
    description="Only what a request of yours with this Idempotency-Key made.",
)
AS_OF: Final = OpenApiParameter(
    name="as_of",
    type={"type": "string", "format": "date-time"},
    description="Balances after everything recorded up to this moment.",
)
REPLAYED: Final = OpenApiParameter(
    name="Idempotent-Replayed",
    type={"type": "string", "enum": ["true"]},
    location=OpenApiParameter.HEADER,
    response=[200, 201, 202],
    description="Present if this is the answer to an earlier request with the same key.",
)
