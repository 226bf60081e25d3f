"""Reading event streams."""

import pytest

from sluice_client.server_sent_events import EventParser, lines_of


def events_in(*pieces):
    parser = EventParser()
    return [event for line in lines_of(pieces) if (event := parser.feed(line))]


def test_an_event_has_its_id_type_and_body():
    [event] = events_in(b"id: 7\nevent: document.status\ndata: {}\n\n")

    assert (event.id, event.type, event.body) == ("7", "document.status", "{}")


def test_several_lines_of_data_are_joined_and_one_space_is_dropped():
    [event] = events_in(b"data: a\ndata:  b\ndata\n\n")

    assert event.body == "a\n b\n"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_line_end_is_understood_also_when_it_is_cut_in_two(end):
    stream = b"id: 1" + end + b"data: x" + end + end + b"data: y" + end + end + b":end" + end

    one_by_one = events_in(*(bytes([byte]) for byte in stream))

    assert [event.body for event in one_by_one] == ["x", "y"]
    assert events_in(stream) == one_by_one


def test_unicode_line_separators_and_cut_characters_do_not_end_a_line():
    stream = 'data: {"message": "문서\u2028\x85끝"}\n\n'.encode()

    [event] = events_in(*(bytes([byte]) for byte in stream))

    assert event.body == '{"message": "문서\u2028\x85끝"}'


def test_comments_and_unknown_fields_are_ignored_and_an_unfinished_event_is_dropped():
    assert events_in(b": hello\n\n", b"colour: red\n\n", b"data: cut off\n") == []


def test_the_last_id_stays_for_events_without_one_and_counts_only_when_its_event_is_whole():
    parser = EventParser("3")
    for line in ("data: x", "", "id: 9", "data: half"):
        parser.feed(line)

    assert parser.last_event_id == "3"


def test_retry_is_taken_only_when_it_is_a_number():
    parser = EventParser()
    for line in ("retry: 2000", "retry: soon"):
        parser.feed(line)

    assert parser.retry_ms == 2000
