"""Foreign keys to the models that the settings name."""

from typing import TYPE_CHECKING, Any

from django.db import models

from .conf import wallet_settings

if TYPE_CHECKING:
    ForeignKey = models.ForeignKey[Any, Any]
else:
    ForeignKey = models.ForeignKey


class SwappableKey(ForeignKey):
    """A foreign key to a model of the settings that looks the same in the migrations of every project.

    :param migrated_to: the table that the database constraint refers to. Every wallet, of whatever model, is a row of
        `dj_wallet.account`
    :param role: the setting that names the model which has the reverse relation; other models have none, because
        two of them cannot share its name
    """

    def __init__(
        self, to: Any, on_delete: Any, *, migrated_to: str = "", role: str = "", **kwargs: Any
    ) -> None:
        self.migrated_to = migrated_to
        self.role = role
        super().__init__(to, on_delete, **kwargs)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        if self.migrated_to:
            kwargs["to"] = self.migrated_to
        return name, "django.db.models.ForeignKey", args, kwargs

    def contribute_to_class(self, cls: Any, name: str, *args: Any, **kwargs: Any) -> None:
        if self.role and not cls._meta.abstract and not is_chosen(cls, self.role):
            self.remote_field.related_name = "+"
        super().contribute_to_class(cls, name, *args, **kwargs)


def is_chosen(model: type[models.Model], role: str) -> bool:
    """Tell whether the setting `role` names this model."""
    label: str = getattr(wallet_settings, role)
    return label.lower() == model._meta.label_lower
