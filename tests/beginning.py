"""The test database as its migrations left it, had again in milliseconds after a test that commits.

Django's own way empties every table there is, fills again those of content types and permissions, and takes most of a
second. Here only what was written is emptied, and the few tables that migrations fill are compared with their copy.
"""

from django.contrib.contenttypes.models import ContentType
from django.db import connection

TABLES = "select oid, relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
# The locks let transactions end that a killed program left; the role lets history go, which is append-only to others.
RETURN_TO_BEGINNING = f"""
create function beginning.return_to() returns boolean language plpgsql
set session_replication_role = replica as $$
declare
    written text[] := array(select quote_ident(relname) from ({TABLES}) where pg_relation_size(oid) > 0);
    name text;
    differs boolean;
    is_restored boolean := false;
begin
    execute 'lock table ' || array_to_string(written, ', ') || ' in share row exclusive mode';
    foreach name in array written loop
        if to_regclass('beginning.' || name) is null then
            execute 'delete from ' || name;
        end if;
    end loop;
    for name in select quote_ident(tablename) from pg_tables where schemaname = 'beginning' loop
        execute format('select exists ((table %1$s except all table beginning.%1$s) union all
            (table beginning.%1$s except all table %1$s))', name) into differs;
        if differs then
            execute 'delete from ' || name;
            execute format('insert into %1$s table beginning.%1$s', name);
            is_restored := true;
        end if;
    end loop;
    return is_restored;
end $$
"""


def remember_beginning() -> None:
    """Keep a copy of what the migrations wrote."""
    with connection.cursor() as cursor:
        cursor.execute("drop schema if exists beginning cascade")  # of a run with --reuse-db
        cursor.execute("create schema beginning")
        cursor.execute(f"select relname from ({TABLES}) where pg_relation_size(oid) > 0")
        for (name,) in cursor.fetchall():
            cursor.execute(f'create table beginning."{name}" as table public."{name}"')
        cursor.execute(RETURN_TO_BEGINNING)


def return_to_beginning() -> None:
    """Make the database what it was before the first test."""
    with connection.cursor() as cursor:
        cursor.execute("select beginning.return_to()")
        if cursor.fetchone() == (True,):
            ContentType.objects.clear_cache()
