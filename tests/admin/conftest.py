"""Who works in the admin, and pages to look at."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from tests.testapp.models import Person


@pytest.fixture
def sign_in(db):
    """A function that returns the browser of an operator who may do just this."""

    def sign_in(*codenames, is_staff=True):
        user = get_user_model().objects.create_user(
            username=f"operator of {len(codenames)}", password="secret", is_staff=is_staff
        )
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="dj_wallet", codename__in=codenames)
        )
        client = Client()
        client.force_login(user)
        client.operator = user
        return client

    return sign_in


@pytest.fixture
def fill(db):
    """A function that makes so many people with wallets, deposits and transfers."""

    def fill(count):
        people = [Person.objects.create(name=f"person {number}") for number in range(count)]
        for person in people:
            person.deposit(100)
        for one, other in zip(people, people[1:] + people[:1], strict=True):
            one.transfer(other, 1)

    return fill
