"""What our issuer does beside allauth: staff prove themselves first, and where allauth 65.21 stumbles is made good.

Each repair says when it can go.
"""

from collections.abc import Callable
from typing import Any, Final

from allauth.idp.oidc.internal.oauthlib.request_validator import OAuthLibRequestValidator
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from oauthlib.oauth2.rfc8628.grant_types import DeviceCodeGrant

from .step_up import find_staff_proof

API: Final = "/identity/o/api/"
CONSENTS: Final = ("/identity/o/authorize", "/identity/o/device")


class InvalidTargetMiddleware:
    """Answers a `resource` that is malformed, or not ours, as RFC 8707 has it. Can go when allauth catches the error."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, ValidationError) and request.path.startswith(API):
            return JsonResponse({"error": "invalid_target"}, status=400)
        return None


class StaffConsentMiddleware:
    """Lets staff hand out tokens only after a second factor, where one is asked of them: their tokens see all."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        is_consent = request.path.startswith(CONSENTS)
        return (find_staff_proof(request) if is_consent else None) or self.get_response(request)


def support_devices() -> None:
    """Let devices fetch tokens with oauthlib 4.0.1. Can go when allauth has this method of its validator itself."""
    if not hasattr(OAuthLibRequestValidator, "validate_device_code"):
        OAuthLibRequestValidator.validate_device_code = _validate_device_code


def _validate_device_code(
    self: Any, client_id: str, code: str, request: Any, *args: Any, **kwargs: Any
) -> str | None:
    """allauth has checked the code before, and only then names the user: without one nothing is given."""
    return DeviceCodeGrant.DEVICE_CODE_AUTHORIZED if request.user is not None else None
