"""Tasks on the wire: by name, ids only, readable for ever."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from sluice_common.contract import ALL_TASKS, EmbedBatch, ExtractDocument, parse_task
from sluice_common.errors import InvalidTask
from sluice_common.tasks import message_of

RELEASED = sorted((Path(__file__).parents[2] / "data" / "messages").glob("*.json"))


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_every_message_that_was_ever_released_can_still_be_read(path):
    message = json.loads(path.read_text())
    (task_type,) = [task for task in ALL_TASKS if task.actor == message["actor"]]

    assert task_type.queue == message["queue"]
    assert parse_task(task_type, message["fields"])


def test_every_task_has_a_released_message():
    assert {json.loads(path.read_text())["actor"] for path in RELEASED} == {task.actor for task in ALL_TASKS}


def test_names_of_actors_are_unique():
    assert len({task.actor for task in ALL_TASKS}) == len(ALL_TASKS)


def test_a_message_is_small_and_holds_ids_only():
    for task in (ExtractDocument(document_id=UUID(int=2**127)), EmbedBatch(run_id=2**60, batch_no=50_000)):
        assert len(message_of(task).encode()) < 300


def test_fields_of_a_newer_sender_are_ignored():
    assert parse_task(EmbedBatch, {"run_id": 1, "batch_no": 2, "colour": "blue"}) == EmbedBatch(run_id=1, batch_no=2)


def test_a_message_that_does_not_match_is_a_named_error():
    with pytest.raises(InvalidTask, match="embed"):
        parse_task(EmbedBatch, {"run_id": "not a number"})
