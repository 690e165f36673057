"""Which admin our pages are made for: django-unfold where it is installed, Django's own otherwise. The only switch.

Templates need none: both have the same blocks, and our pages bring their own few styles.
"""

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]

    class UserForms:
        """The forms of a user's pages."""

elif not apps.is_installed("unfold"):
    ModelAdmin = admin.ModelAdmin

    class UserForms:
        """The forms of a user's pages: Django's."""

else:
    from unfold.admin import ModelAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

    class UserForms:
        """The forms of a user's pages, styled by the theme."""

        form = UserChangeForm
        add_form = UserCreationForm
        change_password_form = AdminPasswordChangeForm


__all__ = ["ModelAdmin", "UserForms"]
