"""The page of log events lists what the services write."""

import ast

from pages import SOURCES, table_of, word

PAGE = "docs/reference/events.md"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}


def written_events() -> dict[str, tuple[set[str], set[str]]]:
    """The levels and facts of each event, by its name."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (level := level_of(node.func)):
                event = node.args[0]
                assert isinstance(event, ast.Constant), f"{path}:{node.lineno}: an event is a constant"
                levels, facts = found.setdefault(event.value, (set(), set()))
                levels |= level
                facts |= {keyword.arg for keyword in node.keywords if keyword.arg and keyword.arg != "exc_info"}
    return found


def level_of(function: ast.expr) -> set[str]:
    if isinstance(function, ast.Attribute) and ast.unparse(function.value) == "log" and function.attr in LEVELS:
        return {LEVELS[function.attr]}
    # a task that found nothing to do is not worth a line at info
    return {"info", "debug"} if isinstance(function, ast.Name) and function.id == "level" else set()


def test_every_event_stands_on_the_page_with_its_level_and_facts():
    expected = {
        word(event): (levels, {word(fact) for fact in facts}) for event, (levels, facts) in written_events().items()
    }
    shown = {
        event: (set(level.split(" or ")), {fact for fact in facts.split(", ") if fact})
        for event, level, facts, _ in table_of(PAGE, "Events")
    }

    assert shown == expected
