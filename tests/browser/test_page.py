"""The web page, used as a person uses it."""

import re
import uuid
import wave
from pathlib import Path

import pytest
from playwright.sync_api import expect
from unit.extractor.hostile_files import one_page, stream
from unit.extractor.scans import looks_of, scanned
from unit.extractor.scans import written as written_page

READY_MS = 60_000


def written(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def unique(text):
    """Text that no other test has uploaded, so that it is a new document."""
    return f"{text} {uuid.uuid4().hex}\n"


def ends_as(visit, name, status):
    row = visit.document(name)
    expect(row).to_have_attribute("data-status", status, timeout=READY_MS)
    return row


def search(visit, query):
    visit.page.fill("#query", query)
    visit.page.press("#query", "Enter")


def test_two_dropped_files_become_ready_are_found_opened_downloaded_and_deleted(visit, stack, tmp_path):
    word = f"otter{uuid.uuid4().hex[:8]}"
    otters = written(tmp_path, f"{word}.txt", unique(f"The {word} holds hands while it sleeps."))
    beavers = written(tmp_path, f"beaver-{word}.md", unique(f"# Dams\n\nBeavers build dams of wood near the {word}."))
    visit.open().drop(otters, beavers)

    ends_as(visit, otters.name, "ready")
    ends_as(visit, beavers.name, "ready")
    search(visit, word)
    result = visit.page.locator(".result").filter(has_text="holds hands")
    expect(result.locator("mark").first).to_have_text(word)
    result.get_by_role("button", name=otters.name).click()
    passage = visit.page.locator("#passage")
    expect(passage.locator(".found")).to_contain_text("holds hands while it sleeps")
    with visit.page.expect_download() as downloading:
        visit.page.click("#passage-download")
    assert Path(downloading.value.path()).read_bytes() == otters.read_bytes()
    visit.page.keyboard.press("Escape")
    expect(passage).to_be_hidden()

    visit.document(otters.name).first.get_by_role("button", name=re.compile("Delete")).click()
    visit.page.click("#confirm-yes")

    expect(visit.document(otters.name).first).to_be_hidden()
    expect(visit.page.locator(".result").filter(has_text="holds hands")).to_have_count(0)
    assert visit.complaints == []
    assert visit.hosts <= {stack.url.split("/")[2], ""}


def test_chosen_files_are_uploaded_too(visit, tmp_path):
    name = f"chosen-{uuid.uuid4().hex[:8]}.txt"

    visit.open().upload(written(tmp_path, name, unique("Chosen with the button.")))

    ends_as(visit, name, "ready")
    assert visit.complaints == []


def test_a_scan_is_read_once_that_is_ticked_as_its_remedy_says(visit, tmp_path):
    scan = tmp_path / f"scan-{uuid.uuid4().hex[:8]}.pdf"
    scan.write_bytes(scanned([looks_of(written_page([f"The weir is {uuid.uuid4().hex[:8]}."]), dpi=100)]))
    page = visit.open()
    page.upload(scan)
    ends_as(visit, scan.name, "failed")
    row = visit.document(scan.name).and_(visit.page.locator("[data-id^=doc_]"))  # and not that of its second upload
    expect(row).to_contain_text("multimodal=true")

    visit.page.get_by_label("Also read pictures and scans").check()
    page.upload(scan)

    # Where there is no Tesseract it fails once more, with the remedy to install that.
    expect(row).not_to_contain_text("multimodal=true", timeout=READY_MS)
    expect(row).to_have_attribute("data-status", re.compile("ready|failed"), timeout=READY_MS)
    expect(row).not_to_contain_text("multimodal=true")
    assert visit.complaints == []


def test_a_failed_document_shows_its_remedy_and_offers_a_retry(visit, tmp_path):
    name = f"blank-{uuid.uuid4().hex[:8]}.txt"

    visit.open().upload(written(tmp_path, name, " \n" * (uuid.uuid4().int % 5000 + 10)))

    row = ends_as(visit, name, "failed")
    expect(row.locator(".document-remedy")).to_have_text("Check that the right file was uploaded.")
    expect(row.get_by_role("button", name=re.compile("Retry"))).to_be_visible()


@pytest.mark.parametrize("visit", ["ko-KR"], indirect=True)
def test_the_page_is_korean_for_a_korean_browser_and_says_remedies_in_korean(visit, tmp_path):
    name = f"빈 문서 {uuid.uuid4().hex[:8]}.txt"

    visit.open().upload(written(tmp_path, name, " \n" * (uuid.uuid4().int % 5000 + 10)))

    expect(visit.page.locator("#documents-title")).to_have_text("문서")
    expect(ends_as(visit, name, "failed").locator(".document-remedy")).to_contain_text("올바른 파일인지")
    assert visit.page.locator("html").get_attribute("lang") == "ko"


def test_the_language_can_be_switched(visit):
    visit.open().page.click("#language")

    expect(visit.page.locator("#search-title")).to_have_text("검색")


def test_the_key_leaves_the_address_bar_and_a_wrong_one_is_asked_for_again(visit, stack):
    visit.open(key="sk_wrong")

    expect(visit.page.locator("#key-problem")).to_have_text("The gateway does not accept this key.")
    visit.page.fill("#key", stack.api_key)
    visit.page.press("#key", "Enter")

    expect(visit.page.locator("#drop")).to_be_visible()
    assert "#" not in visit.page.url


def test_text_of_documents_is_shown_as_text(visit, tmp_path):
    word = f"markup{uuid.uuid4().hex[:8]}"
    name = f"{word}.txt"
    visit.open().upload(written(tmp_path, name, unique(f"<img src=x onerror=alert(1)> {word} <b>bold</b>")))
    ends_as(visit, name, "ready")

    search(visit, word)

    expect(visit.page.locator(".result-text").first).to_contain_text("<img src=x onerror=alert(1)>")
    assert visit.page.locator("#results img, #results b").count() == 0
    assert visit.complaints == []


def test_the_page_fits_a_narrow_screen(visit):
    visit.page.set_viewport_size({"width": 360, "height": 740})

    visit.open()

    expect(visit.page.locator("#drop")).to_be_visible()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 360


def test_everything_can_be_reached_by_keyboard_and_has_a_name(visit):
    visit.open()
    expect(visit.page.locator("#drop")).to_be_visible()

    nameless = visit.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a[href], progress")]
          .filter(one => !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length))
          .map(one => one.outerHTML)"""
    )
    visit.page.locator("body").press("Tab")

    assert nameless == []
    assert visit.page.evaluate("document.activeElement.className") == "skip"


def test_what_was_found_out_about_a_recording_is_shown_and_hidden_again(visit, tmp_path):
    name = f"pause-{uuid.uuid4().hex[:8]}.wav"
    with wave.open(str(tmp_path / name), "wb") as recording:
        recording.setparams((1, 2, 8000, 0, "NONE", ""))
        recording.writeframes(bytes(24_000) + uuid.uuid4().bytes)
    visit.open().upload(tmp_path / name)
    row = ends_as(visit, name, "ready")
    button = row.get_by_role("button", name=re.compile("Analysis"))

    button.press("Enter")

    expect(row.locator(".analysis")).to_contain_text("Silence0:00:01")
    expect(button).to_have_attribute("aria-expanded", "true")
    button.press("Enter")
    expect(row.locator(".analysis")).to_have_count(0)
    assert visit.complaints == []


INK_AND_MARKS = """() => {
  const image = document.querySelector("#paper img");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const shown = image.getBoundingClientRect();
  const scale = shown.width / image.naturalWidth;
  const marks = [...document.querySelectorAll(".paper-marks rect")].map((one) => one.getBoundingClientRect());
  let ink = 0, marked = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] > 100) continue;
    const x = shown.left + ((at / 4) % canvas.width + 0.5) * scale;
    const y = shown.top + (Math.floor(at / 4 / canvas.width) + 0.5) * scale;
    ink += 1;
    marked += marks.some((one) => x >= one.left && x <= one.right && y >= one.top && y <= one.bottom);
  }
  return { ink, marked };
}"""


@pytest.mark.parametrize("turned", [0, 90], ids=["upright", "turned"])
def test_a_hit_in_a_pdf_is_shown_on_its_page_with_its_lines_marked(visit, tmp_path, turned):
    word = f"lichen{uuid.uuid4().hex[:8]}"
    name = f"{word}.pdf"
    lines = (
        b"BT /F 14 Tf 80 600 Td (The %b grows on stone) Tj 0 -20 Td (and on the bark of trees.) Tj ET" % word.encode()
    )
    (tmp_path / name).write_bytes(one_page(stream(lines), page=b"/Rotate %d" % turned))
    visit.open().upload(tmp_path / name)
    ends_as(visit, name, "ready")
    search(visit, word)

    visit.page.locator(".result").filter(has_text=word).get_by_role("button", name=name).press("Enter")

    expect(visit.page.get_by_role("img", name=f"Page 1 of {name}")).to_be_visible()
    seen = visit.page.evaluate(INK_AND_MARKS)
    assert seen["ink"] > 100
    assert seen["marked"] >= 0.99 * seen["ink"]
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator("#paper img")).to_have_count(0)
    assert visit.complaints == []


def test_a_hit_without_a_page_is_shown_as_text_alone(visit, tmp_path):
    word = f"moss{uuid.uuid4().hex[:8]}"
    visit.open().upload(written(tmp_path, f"{word}.txt", unique(f"The {word} is soft.")))
    ends_as(visit, f"{word}.txt", "ready")
    search(visit, word)

    visit.page.locator(".result").filter(has_text=word).get_by_role("button").first.press("Enter")

    expect(visit.page.locator("#passage .found")).to_contain_text(word)
    expect(visit.page.locator("#paper")).to_be_hidden()
    assert visit.complaints == []
