"""How texts become terms for lexical search."""

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_common import lexical
from sluice_common.lexical import LEXICAL_VERSION, lexical_query, lexical_vector
from sluice_common.ports import SparseVector


def share(a, b):
    """The part of the terms of *a* that *b* has too."""
    return len(np.intersect1d(a.indices, b.indices)) / len(a.indices)


def same(a, b):
    return np.array_equal(a.indices, b.indices) and np.array_equal(a.values, b.values)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Hello, wORLD 3.14", ["hello", "world", "3", "14"]),
        ("snake_case-name", ["snake", "case", "name"]),
        ("데이터베이스를", ["데이", "이터", "터베", "베이", "이스", "스를"]),
        ("책을 나", ["책을", "책", "나"]),
        ("우리", ["우리"]),
        ("2024년 AI는", ["2024", "ai", "년", "는"]),
        ("東京都へ", ["東京", "京都", "都へ"]),
        ("データ", ["デー", "ータ"]),
        ("Straße ＡＢＣ", ["strasse", "abc"]),
        ("docu\u00adment", ["document"]),
        ("?! \n", []),
        ("", []),
    ],
)
def test_words_are_terms_and_hangul_han_and_kana_are_cut_into_pairs(text, terms):
    assert lexical._terms_of(text) == terms


def test_a_noun_is_found_whatever_particle_hangs_on_it():
    chunk = lexical_vector("데이터베이스를 설치하고 책을 읽는다")

    assert share(lexical_query("데이터베이스"), chunk) == 1
    assert share(lexical_query("데이터베이스에서"), chunk) > 0.6
    assert share(lexical_query("책"), chunk) == 1


def test_decomposed_and_composed_texts_are_the_same():
    text = "한국어 문서, café"

    assert same(lexical_vector(unicodedata.normalize("NFD", text)), lexical_vector(text))


def test_an_index_is_the_first_32_bits_of_blake2b():
    vector = lexical_query("hello")

    assert vector.indices.tolist() == [0xE4CFA39A]


def test_another_process_gets_the_same_vector():
    text = "the same, 같은 문장"
    program = f"from sluice_common.lexical import *; v = lexical_vector({text!r}); "
    program += "print(v.indices.tolist(), v.values.tolist())"

    printed = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program], capture_output=True, text=True, check=True
    ).stdout

    vector = lexical_vector(text)
    assert printed.strip() == f"{vector.indices.tolist()} {vector.values.tolist()}"


def test_a_repeated_term_weighs_more_but_less_and_less():
    once, twice, often = (float(lexical_vector("word " * times).values[0]) for times in (1, 2, 50))

    assert once < twice < 2 * once
    assert twice < often < lexical.SATURATION + 1


def test_the_same_term_weighs_less_in_a_longer_chunk():
    short, long = lexical_vector("needle"), lexical_vector("needle " + " ".join(f"w{n}" for n in range(300)))

    at = long.indices.tolist().index(short.indices[0])
    assert long.values[at] < short.values[0]


def test_a_question_weighs_every_term_alike():
    vector = lexical_query("what what is what")

    assert vector.values.tolist() == [1, 1, 1][: len(vector.indices)]
    assert len(vector.indices) == 2


def test_terms_that_fall_on_one_index_are_added():
    indices, weights = np.array([7, 3, 7], np.uint32), np.array([1, 2, 4], np.float32)

    merged = lexical._merged(indices, weights)

    assert same(merged, SparseVector(np.array([3, 7], np.uint32), np.array([2, 5], np.float32)))


def test_its_version_is_known():
    assert LEXICAL_VERSION == "l1"


@given(st.text())
def test_any_text_gives_distinct_ascending_terms_with_positive_weights(text):
    for vector in (lexical_vector(text), lexical_query(text)):
        assert (np.diff(vector.indices.astype(np.int64)) > 0).all()
        assert (vector.values > 0).all()
        assert (vector.indices.dtype, vector.values.dtype) == (np.uint32, np.float32)
        assert len(vector.indices) == len(vector.values)


@given(st.text(alphabet=st.characters()))
def test_a_chunk_answers_the_question_that_repeats_it(text):
    assert np.array_equal(lexical_vector(text).indices, lexical_query(text).indices)
