"""Every failure has a code, a sentence and a remedy in both languages."""

import pytest

from sluice_common import errors
from sluice_common.errors import FAILURES, CrashError, FailureCode, PermanentError, PipelineError


def all_errors(root: type[PipelineError]) -> list[type[PipelineError]]:
    return [error for child in root.__subclasses__() for error in (child, *all_errors(child))]


def test_every_failure_code_tells_a_person_what_happened_and_what_to_do():
    assert set(FAILURES) == set(FailureCode)
    for failure in FAILURES.values():
        assert all((failure.en.sentence, failure.en.remedy, failure.ko.sentence, failure.ko.remedy))


def test_every_korean_text_is_korean():
    for failure in FAILURES.values():
        assert any("가" <= letter <= "힣" for letter in failure.ko.sentence + failure.ko.remedy)


@pytest.mark.parametrize("branch", [PermanentError, CrashError])
def test_whatever_ends_a_document_has_a_code_of_the_closed_list(branch):
    for error in all_errors(branch):
        assert error.code in {*FailureCode, "invalid_task"}, error


def test_every_error_stands_in_the_tree_at_the_top_of_the_module():
    drawn = errors.__doc__
    for error in all_errors(PipelineError):
        if error.__module__ == errors.__name__:
            assert error.__name__ in drawn, error
