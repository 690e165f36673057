"""The Celery application: `celery -A wallet_service worker` and `... beat`."""

import os
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wallet_service.settings")

app = Celery("wallet_service")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
def show_readiness(**_: object) -> None:
    """Create the file that `wallet up` or a readiness probe waits for."""
    if path := os.environ.get("WALLET_READY_FILE"):
        Path(path).touch()
