"""Is the process alive, and can it serve? Neither asks who is asking."""

import logging
from typing import Any

from celery import current_app
from celery.exceptions import OperationalError
from django.db import Error, connection
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dj_wallet.custody.health import list_health

from . import schemas

logger = logging.getLogger(__name__)

BROKER_TIMEOUT_SECONDS = 2


class HealthView(APIView):
    """Whether the process answers."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    @extend_schema(
        operation_id="get_health",
        summary="Is the process alive?",
        responses={200: schemas.HealthBody},
        tags=["operation"],
    )
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class ReadinessView(APIView):
    """Whether the process can serve requests."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    @extend_schema(
        operation_id="get_readiness",
        summary="Can it serve?",
        responses={
            200: schemas.ReadinessBody,
            503: OpenApiResponse(schemas.ReadinessBody, "What is unreachable."),
        },
        tags=["operation"],
    )
    def get(self, request: Request) -> Response:
        parts = {"database": reaches_database(), "broker": reaches_broker()}
        is_ready = all(parts.values())
        body: dict[str, Any] = {
            name: "ok" if reached else "unreachable" for name, reached in parts.items()
        }
        body["networks"] = list_networks() if parts["database"] else []
        return Response(
            {"status": "ok" if is_ready else "unavailable", **body},
            status=status.HTTP_200_OK if is_ready else status.HTTP_503_SERVICE_UNAVAILABLE,
        )


def reaches_database() -> bool:
    """Tell whether the database answers a query."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except Error as error:
        logger.warning("The database is unreachable: %s", error)
        return False
    return True


def list_networks() -> list[dict[str, Any]]:
    """Return how far each network is read. A node that is away makes no process unready: balances can be asked for."""
    try:
        networks = list_health()
    except Error as error:  # such as tables that are not migrated yet
        logger.warning("The networks cannot be read: %s", error)
        return []
    return [
        {
            "network": one.network,
            "state": one.state,
            "blocks_behind": one.blocks_behind,
            "look_age_seconds": None if one.look_age is None else int(one.look_age.total_seconds()),
        }
        for one in networks
    ]


def reaches_broker() -> bool:
    """Tell whether the broker takes a connection."""
    broker = current_app.connection_for_write(connect_timeout=BROKER_TIMEOUT_SECONDS)
    try:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT_SECONDS)
    except (OperationalError, OSError) as error:
        logger.warning("The broker is unreachable: %s", error)
        return False
    finally:
        broker.release()
    return True
