"""The page of messages says what travels between the services."""

from pages import table_of, word

from sluice_common.contract import ALL_TASKS

PAGE = "docs/reference/messages.md"


def test_every_task_stands_on_the_page_with_its_actor_queue_and_fields():
    shown = {tuple(cells[:5]) for cells in table_of(PAGE, "Tasks")}

    assert shown == {
        (
            word(task.__name__),
            word(task.actor),
            word(task.queue),
            ", ".join(word(field) for field in task.model_fields),
            str(task.__doc__),
        )
        for task in ALL_TASKS
    }
