"""The header Content-Security-Policy: what a page of ours may load. Django has this itself from 6.0 on."""

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER: Final = "Content-Security-Policy"


class ContentSecurityPolicyMiddleware:
    """Sends the policy of the settings, or the one of the path where that has its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.policies = {start: join(policy) for start, policy in settings.WALLET_CSP.items()}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if HEADER not in response:
            starts = [start for start in self.policies if request.path.startswith(start)]
            response[HEADER] = self.policies[max(starts, key=len)]
        return response


def join(policy: dict[str, str]) -> str:
    """Return the policy as the header spells it."""
    return "; ".join(f"{name} {sources}".strip() for name, sources in policy.items())
