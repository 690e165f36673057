"""The SQL that migrations install: functions, triggers, views."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AlterField
from django.db.migrations.operations.base import Operation


def read_sql(name: str) -> str:
    """Return the text of a file of this folder."""
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")


class InstallSQL(Operation):
    """A migration step that runs files of this folder on the databases they are written for."""

    reduces_to_sql = True

    def __init__(
        self, vendors: Sequence[str], files: Sequence[str], reverse_sql: str | None
    ) -> None:
        """:param vendors: the databases that need it, as Django calls them; empty means all

        :param reverse_sql: None if there is no way back
        """
        self.vendors = vendors
        self.files = files
        self.reverse_sql = reverse_sql

    @property
    def reversible(self) -> bool:  # type: ignore[override]
        return self.reverse_sql is not None

    def state_forwards(self, app_label: str, state: object) -> None:
        """Nothing that models see changes."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: object,
        to_state: object,
    ) -> None:
        self._run(schema_editor, [read_sql(name) for name in self.files])

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: object,
        to_state: object,
    ) -> None:
        self._run(schema_editor, [self.reverse_sql or ""])

    def describe(self) -> str:
        return f"Install {', '.join(self.files)}"

    def _run(self, schema_editor: BaseDatabaseSchemaEditor, scripts: Sequence[str]) -> None:
        vendor = schema_editor.connection.vendor
        if self.vendors and vendor not in self.vendors:
            return
        for script in scripts:
            for statement in split_statements(script) if vendor == "sqlite" else [script]:
                schema_editor.execute(statement, params=None)


class AlterOnPostgres(AlterField):
    """Changes the table on PostgreSQL only: on SQLite the constraint costs nothing that matters, and triggers would go."""

    def database_forwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, *states)

    def database_backwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, *states)


def split_statements(script: str) -> list[str]:
    """Split a script at blank lines before `create` or `drop`: SQLite runs one statement at a time."""
    statements: list[list[str]] = []
    for line in script.splitlines():
        if line.startswith("--"):
            continue
        if line.startswith(("create ", "drop ")):
            statements.append([])
        if statements:
            statements[-1].append(line)
    return ["\n".join(lines).strip() for lines in statements]
