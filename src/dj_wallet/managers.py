"""Managers of wallets and transactions."""

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db import models

if TYPE_CHECKING:
    from .abstract_models import AbstractTransaction, AbstractWallet

W = TypeVar("W", bound="AbstractWallet")
T = TypeVar("T", bound="AbstractTransaction")


class WalletManager(models.Manager[W]):
    """Finds wallets by their holder."""

    def held_by(self, holder: models.Model) -> models.QuerySet[W]:
        """Return the wallets of a saved model instance."""
        holder_type = ContentType.objects.db_manager(self.db).get_for_model(holder)
        return self.filter(holder_type=holder_type, holder_id=holder.pk)

    def get_wallet(
        self, holder: models.Model, slug: str = "default", lock: bool = False
    ) -> W | None:
        """Return the holder's wallet of that slug or None; `lock` takes its row until the transaction ends."""
        wallets = self.held_by(holder).filter(slug=slug)
        return (wallets.select_for_update() if lock else wallets).first()

    def get_or_create_wallet(
        self, holder: models.Model, slug: str = "default", **defaults: Any
    ) -> tuple[W, bool]:
        """Return the holder's wallet of that slug, created if necessary, and whether it was."""
        holder_type = ContentType.objects.db_manager(self.db).get_for_model(holder)
        return self.get_or_create(
            holder_type=holder_type, holder_id=holder.pk, slug=slug, defaults=defaults
        )


class TransactionManager(models.Manager[T]):
    """The default manager of transactions."""
