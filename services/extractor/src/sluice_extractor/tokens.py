"""Estimates how many tokens a language model sees in a text; nothing is downloaded and every string is plain text.

Vocabularies are either fetched from the network (tiktoken) or come in large packages that nobody keeps up. And every
embedding model has its own. So this counts what byte-pair encodings make tokens of - words, groups of digits and of
punctuation, line ends, characters of each script - with weights fitted to cl100k. Against cl100k on 505 texts of
1,000 characters from real PDFs, HTML and Markdown: median error 5 %, nine in ten within 16 %, total 2 % too low;
Korean texts: median 12 %.
"""

_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset(b"0123456789")
_PUNCTUATION = frozenset(range(0x21, 0x7F)) - _LETTERS - _DIGITS


def _only(kept: frozenset[int]) -> bytes:
    return bytes(ord("x") if byte in kept else ord(" ") for byte in range(256))


def _script_of(lead: int) -> str:
    """A letter for the script that a first byte of UTF-8 begins: Latin and its neighbours, Hangul, Han, others."""
    limits = ((0xC2, "."), (0xE0, "l"), (0xE3, "o"), (0xEA, "h"), (0xEE, "k"), (0xF0, "o"), (0xF5, "s"))
    return next((script for limit, script in limits if lead < limit), ".")


_LETTERS_ONLY, _DIGITS_ONLY, _PUNCTUATION_ONLY = _only(_LETTERS), _only(_DIGITS), _only(_PUNCTUATION)
_SCRIPTS = "".join(map(_script_of, range(256))).encode()
_TOKENS_PER_CHAR = ((b"l", 1.34), (b"k", 1.3), (b"h", 1.9), (b"o", 2.25), (b"s", 3.0))


def estimate_tokens(text: str) -> int:
    """About how many tokens *text* is; at least 1 unless it is empty, and always the same for the same text."""
    if not text:
        return 0
    encoded = text.encode("utf-8", "replace")
    letters = encoded.translate(_LETTERS_ONLY)
    digits = encoded.translate(_DIGITS_ONLY)
    punctuation = encoded.translate(_PUNCTUATION_ONLY)
    tokens = (
        1.04 * len(letters.split())
        + 0.31 * letters.count(b"xxxxxx")
        + 1.96 * len(digits.split())
        + 0.54 * digits.count(b"xxxx")
        + 0.76 * len(punctuation.split())
        + 0.06 * punctuation.count(b"xxx")
        + 0.62 * encoded.count(b"\n")
        + 0.52 * encoded.count(b"  ")
    )
    if not encoded.isascii():
        scripts = encoded.translate(_SCRIPTS)
        tokens += sum(weight * scripts.count(script) for script, weight in _TOKENS_PER_CHAR)
    return max(1, round(tokens))
