import pytest

from sluice_extractor.tokens import estimate_tokens

# Counts of cl100k, the vocabulary that the weights were fitted to.
CL100K = {
    "The contract begins today and ends on Friday. Nobody knows why it does so, but it does.": 20,
}


def test_an_empty_text_has_no_tokens_and_any_other_at_least_one():
    assert estimate_tokens("") == 0
    assert estimate_tokens(" ") == 1


@pytest.mark.parametrize("text", CL100K)
def test_a_sentence_is_estimated_within_a_quarter(text):
    assert estimate_tokens(text) == pytest.approx(CL100K[text], rel=0.25)


def test_special_tokens_are_plain_text():
    assert estimate_tokens("<|endoftext|>") > 1


def test_text_that_cannot_be_encoded_has_an_estimate_too():
    assert estimate_tokens("\ud800") > 0
