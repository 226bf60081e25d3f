"""Turns a text into the terms that lexical search compares.

Words are separated by white space and punctuation where a script does so. Hangul, Han and kana runs are cut
into pairs of neighbouring characters instead: Chinese and Japanese write no spaces, and Korean hangs particles
and endings on its nouns and verbs ("데이터베이스를"), so that a whole word of a question hardly ever equals a
whole word of a document. Pairs still agree in all but the last one, need no dictionary, and bear that people
put spaces differently. A noun of one syllable with a particle ("책을") would leave only the pair; there the
noun alone is a term too.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from sluice_common.ports import SparseVector

LEXICAL_VERSION = "l1"
"""Stands in the name of every index: texts and questions must have been cut by the same rules."""

SATURATION = 1.2
LENGTH_WEIGHT = 0.75
AVERAGE_TERMS = 200
"""A fixed average length, because a true one would change with every document; about a chunk of 1,000 characters."""

_REMEMBERED_TERMS = 65_536

_HANGUL = "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"
_HAN_AND_KANA = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PARTICLES = "은는이가을를의에도만와과로"

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_WORD = re.compile(rf"[^\W_{_HANGUL}{_HAN_AND_KANA}]+")
_RUN = re.compile(rf"[{_HANGUL}]+|[{_HAN_AND_KANA}]+")
_NOUN_AND_PARTICLE = re.compile(rf"[{_HANGUL}][{_PARTICLES}]")


def lexical_vector(text: str) -> SparseVector:
    """The lexical vector of a chunk.

    Returns:
        Values saturate with a term's frequency as in BM25 (k1 = 1.2, b = 0.75, Robertson and Zaragoza 2009);
        the store adds the inverse document frequency. Empty for a text without a letter or digit.
    """
    frequency_by_term = Counter(_terms_of(text))
    frequencies = np.fromiter(frequency_by_term.values(), np.float32, len(frequency_by_term))
    relative_length = float(frequencies.sum()) / AVERAGE_TERMS
    damping = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * relative_length)
    weights = frequencies * (SATURATION + 1) / (frequencies + damping)
    return _merged(_indices_of(frequency_by_term), weights.astype(np.float32))


def lexical_query(text: str) -> SparseVector:
    """The lexical vector of a question: its distinct terms, each with weight 1."""
    indices = np.unique(_indices_of(dict.fromkeys(_terms_of(text))))
    return SparseVector(indices=indices, values=np.ones(len(indices), np.float32))


def _terms_of(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    text = unicodedata.normalize("NFKC", text.replace("\u00ad", "")).casefold()
    # Casefolding can take a text out of the normal form again, as it does with a Greek iota below a vowel.
    text = unicodedata.normalize("NFKC", text)
    terms = _WORD.findall(text)
    for run in _RUN.findall(text):
        terms += _pairs_of(run)
    return terms


def _pairs_of(run: str) -> list[str]:
    if len(run) == 1:
        return [run]
    if _NOUN_AND_PARTICLE.fullmatch(run):
        return [run, run[0]]
    return [run[at : at + 2] for at in range(len(run) - 1)]


@lru_cache(maxsize=_REMEMBERED_TERMS)
def _index_of(term: str) -> int:
    # Not hash(), which differs from process to process.
    return int.from_bytes(blake2b(term.encode(), digest_size=64).digest()[:4], "big")


def _indices_of(terms: Collection[str]) -> NDArray[np.uint32]:
    return np.fromiter(map(_index_of, terms), np.uint32, len(terms))


def _merged(indices: NDArray[np.uint32], weights: NDArray[np.float32]) -> SparseVector:
    order = np.argsort(indices)
    indices, weights = indices[order], weights[order]
    is_first = np.ones(len(indices), np.bool_)
    is_first[1:] = indices[1:] != indices[:-1]
    if is_first.all():
        return SparseVector(indices=indices, values=weights)
    return SparseVector(indices=indices[is_first], values=np.add.reduceat(weights, np.flatnonzero(is_first)))
