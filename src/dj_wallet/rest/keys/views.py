"""API keys. Whoever makes one in the browser proves a second factor first; nobody gives scopes they have not."""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from dj_wallet.identity import errors as refusals
from dj_wallet.identity.access import DEFAULT_KEY_SCOPES, Kind
from dj_wallet.identity.models import ApiKey
from dj_wallet.identity.queries import list_api_keys
from dj_wallet.identity.services import (
    DEFAULT_OVERLAP,
    check_scopes,
    create_api_key,
    revoke_api_key,
    roll_api_key,
)
from dj_wallet.identity.step_up import is_step_up_needed
from dj_wallet.rest.bodies import show_time
from dj_wallet.rest.errors import AddressesInvalid, KeyEnded, ScopesInvalid, StepUpRequired
from dj_wallet.rest.schema import WITH_BODY, errors
from dj_wallet.rest.views import ApiView

from . import schemas


class KeyView(ApiView):
    """What the views of keys have in common."""

    scope = "keys"

    def need_step_up(self, request: Request) -> None:
        """Let a person prove it again. Programs hold a key that somebody proved for.

        :raises StepUpRequired: the last proof is too long ago, or a token cannot tell of one
        """
        credential = self.credential
        is_program = credential.kind in {Kind.API_KEY, Kind.SIGNATURE} or credential.is_service
        if is_program:
            return
        if credential.kind == Kind.TOKEN or is_step_up_needed(request._request):
            raise StepUpRequired(reverse("mfa_reauthenticate"))

    def get_key(self, prefix: str) -> ApiKey:
        """:raises Http404: the caller has no such key"""
        api_key = list_api_keys(self.user).filter(prefix=prefix).first()
        if api_key is None:
            raise Http404
        return api_key


class ApiKeysView(KeyView):
    """The caller's keys."""

    @extend_schema(
        operation_id="list_api_keys",
        summary="List API keys",
        responses={200: schemas.ApiKeyBody(many=True), **errors(400)},
        tags=["api keys"],
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(list_api_keys(self.user))
        return self.get_paginated_response([show_key(api_key) for api_key in page or []])

    @extend_schema(
        operation_id="create_api_key",
        summary="Create an API key",
        description="The answer shows the text of the key this once. Scopes are at most those of the caller.",
        request=schemas.ApiKeyInput,
        responses={201: schemas.NewApiKeyBody, **errors(*WITH_BODY)},
        tags=["api keys"],
    )
    def post(self, request: Request) -> Response:
        self.need_step_up(request)
        body = self.read(schemas.ApiKeyInput)
        held = self.credential.scopes
        try:
            api_key, text = create_api_key(
                user=self.user,
                name=body["name"],
                expires_at=body.get("expires_at"),
                scopes=check_scopes(body.get("scopes", DEFAULT_KEY_SCOPES & held), held=held),
                allowed_addresses=body.get("allowed_addresses", ()),
                is_signing=body.get("is_signing", False),
                request=request._request,
            )
        except refusals.ScopesInvalid as refusal:
            raise ScopesInvalid(str(refusal)) from None
        except refusals.AddressesInvalid as refusal:
            raise AddressesInvalid(str(refusal)) from None
        return created(api_key, text)


class ApiKeyView(KeyView):
    """One key."""

    @extend_schema(
        operation_id="get_api_key",
        summary="Get an API key",
        responses={200: schemas.ApiKeyBody, **errors(404)},
        tags=["api keys"],
    )
    def get(self, request: Request, prefix: str) -> Response:
        return Response(show_key(self.get_key(prefix)))

    @extend_schema(
        operation_id="revoke_api_key",
        summary="Revoke an API key",
        description="At once and for ever. The key stays in the list.",
        responses={200: schemas.ApiKeyBody, **errors(404)},
        tags=["api keys"],
    )
    def delete(self, request: Request, prefix: str) -> Response:
        api_key = self.get_key(prefix)
        revoke_api_key(api_key, request=request._request)
        return Response(show_key(api_key))


class RollView(KeyView):
    """The successor of a key."""

    @extend_schema(
        operation_id="roll_api_key",
        summary="Roll an API key",
        description="Makes a key that may do the same. The old one goes on working for `overlap_seconds`, a day if "
        "not said otherwise.",
        request=schemas.RollInput,
        responses={201: schemas.NewApiKeyBody, **errors(*WITH_BODY, 404, 409)},
        tags=["api keys"],
    )
    def post(self, request: Request, prefix: str) -> Response:
        self.need_step_up(request)
        seconds = self.read(schemas.RollInput).get("overlap_seconds")
        old = self.get_key(prefix)
        overlap = DEFAULT_OVERLAP if seconds is None else timedelta(seconds=seconds)
        try:
            # A key that lost scopes since could otherwise make one that has them.
            check_scopes(old.scopes, held=self.credential.scopes)
            api_key, text = roll_api_key(old, overlap=overlap, request=request._request)
        except refusals.ScopesInvalid as refusal:
            raise ScopesInvalid(str(refusal)) from None
        except refusals.KeyEnded:
            raise KeyEnded from None
        return created(api_key, text)


def created(api_key: ApiKey, text: str) -> Response:
    """Return 201 with the key and its text, which nobody may keep on the way."""
    headers = {"Location": reverse("api-key", args=[api_key.prefix]), "Cache-Control": "no-store"}
    body = {**show_key(api_key), "text": text}
    return Response(body, status=status.HTTP_201_CREATED, headers=headers)


def show_key(api_key: ApiKey) -> dict[str, Any]:
    """Return a key, without its secret."""
    return {
        "prefix": api_key.prefix,
        "name": api_key.name,
        "scopes": api_key.scopes,
        "allowed_addresses": api_key.allowed_addresses,
        "is_signing": api_key.is_signing,
        "replaces": api_key.replaces.prefix if api_key.replaces else None,
        "replaced_by": _find_successor(api_key),
        "created_at": show_time(api_key.created_at),
        "last_used_at": _show(api_key.last_used_at),
        "expires_at": _show(api_key.expires_at),
        "revoked_at": _show(api_key.revoked_at),
    }


def _find_successor(api_key: ApiKey) -> str | None:
    try:
        return str(api_key.replaced_by.prefix)
    except ObjectDoesNotExist:
        return None


def _show(instant: datetime | None) -> str | None:
    return None if instant is None else show_time(instant)
