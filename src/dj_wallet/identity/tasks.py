"""What a clock asks of identity."""

import logging

from celery import shared_task
from django.core.management import call_command

from .signatures import forget_nonces

logger = logging.getLogger(__name__)


@shared_task(name="dj_wallet.identity.forget_expired")
def forget_expired() -> None:
    """Delete what opens nothing any more: used nonces, expired tokens and sessions."""
    logger.info("Forgot %d nonces", forget_nonces())
    call_command("oidc_cleartokens", verbosity=0)
    call_command("clearsessions", verbosity=0)
