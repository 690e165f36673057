"""What is answered outside of the views: HTML to browsers at our pages, the API's error shape everywhere else."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from dj_wallet.rest import errors

logger = logging.getLogger(__name__)

PAGES: Final = (
    "/admin/",
    "/accounts/",
    "/identity/o/authorize",
    "/identity/o/device",
    "/identity/o/logout",
)
TEXTS: Final = {
    HTTPStatus.BAD_REQUEST: _("The request cannot be read."),
    HTTPStatus.FORBIDDEN: _("You may not do this."),
    HTTPStatus.NOT_FOUND: _("There is nothing here."),
    HTTPStatus.INTERNAL_SERVER_ERROR: _("Something went wrong on our side."),
    HTTPStatus.SERVICE_UNAVAILABLE: _("We cannot do this right now. Please try again in a moment."),
}
CSRF_TEXT: Final = _(
    "The form is too old, or came from another site. Go back, reload the page and try again."
)


def is_page(request: HttpRequest) -> bool:
    """Tell whether people look at what this path answers."""
    return request.path.startswith(PAGES)


def answer_bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_page(request):
        return show(request, HTTPStatus.BAD_REQUEST)
    return errors.answer_bad_request(request, exception)


def answer_forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_page(request):
        return show(request, HTTPStatus.FORBIDDEN)
    return errors.answer_forbidden(request, exception)


def answer_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_page(request):
        return show(request, HTTPStatus.NOT_FOUND)
    return errors.answer_not_found(request, exception)


def refuse_path(request: HttpRequest, **kwargs: str) -> HttpResponse:
    """:raises Http404: there is nothing at a path that a package would serve"""
    raise Http404


def answer_internal_error(request: HttpRequest) -> HttpResponse:
    if is_page(request):
        return show(request, HTTPStatus.INTERNAL_SERVER_ERROR)
    return errors.answer_internal_error(request)


def answer_csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if is_page(request):
        return show(request, HTTPStatus.FORBIDDEN, str(CSRF_TEXT))
    return errors.answer_csrf_failure(request)


class UnavailableMiddleware:
    """Answers 503 where a page or the issuer needs the database or Redis and cannot reach it: that is no bug of theirs."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        problem = errors.find_problem(error)
        if problem is None or problem.status != HTTPStatus.SERVICE_UNAVAILABLE:
            return None
        logger.error("%s: %s", problem.code, error)
        if not is_page(request):
            return errors.answer_problem(problem)
        response = show(request, problem.status)
        response["Retry-After"] = problem.headers["Retry-After"]
        return response


def show(request: HttpRequest, status: HTTPStatus, text: str | None = None) -> HttpResponse:
    """Return a page that says what is wrong, and the id by which the log knows the request."""
    context = {
        "status": status,
        "title": status.phrase,
        "text": text or TEXTS[status],
        "home": "/admin/" if request.path.startswith("/admin") else settings.LOGIN_REDIRECT_URL,
        "request_id": getattr(request, "request_id", ""),
    }
    return render(request, "wallet_service/error.html", context, status=status)
