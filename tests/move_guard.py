"""A trigger for test databases that refuses every move that `status` does not list."""

import psycopg

from sluice_common.status import BATCH_MOVES, MOVES, RUN_MOVES

_TRIGGER = """
CREATE FUNCTION guard_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND NOT (OLD.state || '>' || NEW.state = ANY(ARRAY[{moves}]))
    THEN RAISE EXCEPTION 'illegal move of {table}: % > %', OLD.state, NEW.state; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_{table} BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION guard_{table}();
"""


def install_move_guard(url: str) -> None:
    tables = {"documents": MOVES, "runs": RUN_MOVES, "batches": BATCH_MOVES}
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for table, moves in tables.items():
            listed = ", ".join(f"'{old.value}>{new.value}'" for old, news in moves.items() for new in news)
            connection.execute(_TRIGGER.format(table=table, moves=listed))
