import pytest

from sluice_api.filters import BadFilter, checked_filter

LEAF = {"type": "eq", "key": "year", "value": 2026}


def nested(depth: int) -> dict:
    body: dict = LEAF
    for level in range(depth):
        body = {"type": ("and", "or")[level % 2], "filters": [body]}
    return body


def leaf(kind: str, value: object, key: object = "year") -> dict:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    "body",
    [
        LEAF,
        leaf("ne", "한글"),
        leaf("eq", value=True),
        leaf("gt", 1.5),
        leaf("gte", -3),
        leaf("lt", 0),
        leaf("lte", 2**63 - 1),
        leaf("in", ["a", 1, 2.5, False]),
        leaf("nin", ["a"]),
        leaf("eq", "x" * 512, key="k" * 64),
        nested(3),
        {"type": "or", "filters": [LEAF] * 64},
    ],
)
def test_a_filter_that_keeps_the_rules_is_taken_as_it_is(body):
    assert checked_filter(body) == body


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/type"),
        ({"type": "like", "key": "a", "value": 1}, "/type"),
        ({"type": ["eq"], "key": "a", "value": 1}, "/type"),
        ({"type": "eq", "value": 1}, "/key"),
        ({"type": "eq", "key": "a"}, "/value"),
        (leaf("eq", None), "/value"),
        (leaf("eq", [1]), "/value"),
        (leaf("eq", {"a": 1}), "/value"),
        (leaf("eq", "x" * 513), "/value"),
        (leaf("eq", 1, key=""), "/key"),
        (leaf("eq", 1, key="k" * 65), "/key"),
        (leaf("eq", 1, key=5), "/key"),
        (leaf("eq", 1, key="\ud800"), "/key"),
        (leaf("eq", "\udfff"), "/value"),
        (leaf("eq", 2**63), "/value"),
        (leaf("eq", float("nan")), "/value"),
        (leaf("eq", float("inf")), "/value"),
        (leaf("gt", "2026"), "/value"),
        (leaf("lte", value=True), "/value"),
        (leaf("in", "a"), "/value"),
        (leaf("in", []), "/value"),
        (leaf("nin", ["a", None]), "/value/1"),
        (leaf("in", ["a"] * 257), "/value"),
        ({**LEAF, "filters": []}, "/filters"),
        ({**LEAF, "a/b~c": 1}, "/a~1b~0c"),
        ({"type": "and"}, "/filters"),
        ({"type": "and", "filters": []}, "/filters"),
        ({"type": "and", "filters": LEAF}, "/filters"),
        ({"type": "and", "filters": [LEAF], "key": "a"}, "/key"),
        ({"type": "and", "filters": [LEAF, 7]}, "/filters/1/type"),
        (
            {"type": "or", "filters": [LEAF, {"type": "and", "filters": [leaf("gt", "x")]}]},
            "/filters/1/filters/0/value",
        ),
        ({"type": "or", "filters": [LEAF] * 65}, ""),
        (nested(4), "/filters/0/filters/0/filters/0"),
        (nested(500), "/filters/0/filters/0/filters/0"),
    ],
)
def test_a_filter_that_breaks_a_rule_is_refused_with_the_place(body, pointer):
    with pytest.raises(BadFilter) as refused:
        checked_filter(body)

    assert refused.value.pointer == pointer
    assert refused.value.detail
