"""The Celery application: `celery -A wallet_service worker` and `... beat`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wallet_service.settings")

app = Celery("wallet_service")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
