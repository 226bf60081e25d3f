"""Text that is no text is noticed, and what is only unusual is not."""

import random
from pathlib import Path

import pytest
from unit.extractor import hostile_files as hostile

from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.garbling import is_garbled
from sluice_extractor.parsing.original import Original

ROOT = Path(__file__).parents[3]
ENGLISH = """A document is ready only when every one of its chunks has been found in the index, and a search shows
exactly one run of it. While it is replaced, the old one is served. Whatever is lost, late or done twice, the row says
what is to be done, and the next worker that looks does it. The claim counts the try before the work starts."""
KOREAN = (ROOT / "README.ko.md").read_text(encoding="utf-8")[:2_000]
CODE = """def read(path: Path) -> list[str]:
    pages = []
    with open_document(path) as document:
        for number, page in enumerate(document.pages, start=1):
            pages.append(page.text if not page.failed else f"page {number}")
    return [line for page in pages for line in page.splitlines() if line.strip() != ""]
assert read(Path("x")) == [] and {"a": 1, "b": [2, 3]}.get("c", 0) != 4"""
NUMBERS = "\n".join(f"{n}  {n * 7919 % 10007:>6}  {n * 0.37:>8.2f}  {n % 12 + 1:02}-{n % 28 + 1:02}" for n in range(60))
MATHS = """Let f: X → Y be continuous and A ⊆ X. Then f(A̅) ⊆ f(A)̅ and ∀ε > 0 ∃δ > 0: |x − y| < δ ⇒ |f(x) − f(y)| < ε.
λ₁x₁ + λ₂x₂ + … + λₙxₙ = 0 ⟹ λᵢ = 0; ‖αx + βy‖ ≤ |α|‖x‖ + |β|‖y‖; ∑ᵢ aᵢ = ∫₀¹ g(t) dt; Γ(s) = (s − 1)Γ(s − 1)."""
OTHERS = {
    "german": "Übermäßige Verzögerungen führen zu ärgerlichen Rückfragen, weshalb Fristen künftig großzügiger sind.",
    "polish": "Źródła wskazują, że większość użytkowników chciałaby szybciej otrzymywać odpowiedzi na zgłoszenia.",
    "vietnamese": "Người dùng có thể tải lên tài liệu và tìm kiếm nội dung bằng ngôn ngữ tự nhiên trong vài giây.",
    "finnish": "Käyttäjät voivat lähettää asiakirjoja ja hakea niiden sisältöä luonnollisella kielellä.",
    "russian": "Пользователи могут загружать документы и искать в них по смыслу, задавая вопросы словами.",
    "greek": "Οι χρήστες μπορούν να ανεβάζουν έγγραφα και να αναζητούν το περιεχόμενό τους με φυσική γλώσσα.",
    "arabic": "يمكن للمستخدمين تحميل المستندات والبحث في محتواها باستخدام اللغة الطبيعية خلال ثوان قليلة.",
    "japanese": "利用者は文書をアップロードし、自然な言葉で内容を検索することができます。",
    "chinese": "用户可以上传文档，并使用自然语言搜索其内容。搜索结果会在几秒钟内显示，并标明所在的页码。",
    "hindi": "उपयोगकर्ता दस्तावेज़ अपलोड कर सकते हैं और प्राकृतिक भाषा में उनकी सामग्री खोज सकते हैं।",
}


def with_letters_changed(text: str, change) -> str:
    return "".join(change(char) if not char.isspace() else char for char in text)


def shuffled(text: str, seed: int = 1) -> str:
    letters = sorted({char for char in text if not char.isspace()})
    others = letters[:]
    random.Random(seed).shuffle(others)
    return text.translate({ord(one): other for one, other in zip(letters, others, strict=True)})


@pytest.mark.parametrize("text", [ENGLISH, KOREAN], ids=["english", "korean"])
@pytest.mark.parametrize(
    "damage",
    [
        shuffled,
        lambda text: with_letters_changed(text, lambda char: chr(ord(char) + 13)),
        lambda text: with_letters_changed(text, lambda char: chr(0xE000 + ord(char) % 0x1000)),
        lambda text: with_letters_changed(text, lambda _char: "\ufffd"),
        lambda text: with_letters_changed(text, lambda char: chr(0x80 + ord(char) % 32)),
    ],
    ids=["shuffled", "shifted", "private", "unknown", "control"],
)
def test_damaged_text_is_garbled(text, damage):
    assert is_garbled(damage(text))


@pytest.mark.parametrize(
    "text", [ENGLISH, KOREAN, CODE, NUMBERS, MATHS], ids=["english", "korean", "code", "numbers", "maths"]
)
def test_good_text_is_not(text):
    assert not is_garbled(text)


@pytest.mark.parametrize("language", OTHERS)
def test_other_languages_are_no_damage(language):
    assert not is_garbled(OTHERS[language] * 3)


def test_a_short_text_is_not_judged():
    assert not is_garbled(shuffled(ENGLISH)[:30])
    assert not is_garbled("\ue000\ue001")


def test_a_page_whose_letters_came_as_control_characters_is_garbled():
    assert is_garbled("! # $\n%", lost_chars=300)
    assert not is_garbled(ENGLISH, lost_chars=3)


def test_letters_of_which_some_came_as_control_characters_and_some_as_signs_are_garbled():
    numbers = "#(2 &45 678 9:; 3<=4 5.3 12) 7*8 +91 235 456 78. 920 128 [03 41] 2:6 3.6 78, " * 6

    assert not is_garbled(numbers[:400])
    assert is_garbled(numbers[:400], lost_chars=60)
    assert not is_garbled(CODE, lost_chars=20)


def test_every_page_of_this_projects_documentation_is_good():
    pages = [*ROOT.glob("docs/**/*.md"), ROOT / "README.ko.md", ROOT / "README.md"]

    assert [path.name for path in pages if is_garbled(path.read_text(encoding="utf-8"))] == []


def test_a_page_with_a_lying_font_is_named_in_the_remarks():
    content = hostile.lying_font(b"The row says what is to be done, and the next worker does it.")
    document = open_document(Original(content, "lying.pdf"))
    pages = list(document.pages)

    assert [page.is_garbled for page in pages] == [True]
    assert [(remark.code, remark.page) for remark in document.remarks] == [("text_garbled", 1)]


@pytest.mark.parametrize("wanted", [{"can_recognise": True}, {"wants_media": True}], ids=["by itself", "multimodal"])
def test_a_garbled_page_that_comes_with_its_picture_is_left_to_whoever_reads_that(wanted):
    content = hostile.lying_font(b"The row says what is to be done, and the next worker does it.")

    document = open_document(Original(content, "lying.pdf", **wanted))
    (page,) = document.pages

    assert [media.is_whole_page for media in page.media] == [True]
    assert (page.text[:3], document.remarks) == ("\ue054\ue068\ue065", [])


def test_a_good_page_has_no_remark():
    document = open_document(Original(hostile.plain_pdf(), "plain.pdf"))

    assert [page.is_garbled for page in document.pages] == [False]
    assert document.remarks == []
