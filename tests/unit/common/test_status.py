"""The table of states and moves."""

from sluice_common.status import ENDED, MOVES, UNFINISHED, WORKING, Lifecycle, State, Status, stage_of, status_of


def test_every_state_has_a_row_in_the_table_of_moves():
    assert set(MOVES) == set(State)


def test_every_unfinished_state_can_be_cancelled():
    assert all(State.CANCELLED in MOVES[state] for state in UNFINISHED)


def test_only_a_verified_document_becomes_completed():
    assert {state for state, moves in MOVES.items() if State.COMPLETED in moves} == {State.VERIFYING}


def test_every_state_has_a_status_and_a_stage_for_clients():
    assert {status_of(state, Lifecycle.ACTIVE) for state in State} == set(Status) - {Status.DELETING}
    assert all(stage_of(state) for state in State)
    assert all(status_of(state, Lifecycle.DELETING) is Status.DELETING for state in State)


def test_a_document_is_unfinished_or_ended_and_working_ones_are_unfinished():
    assert set(State) == UNFINISHED | ENDED
    assert WORKING < UNFINISHED
