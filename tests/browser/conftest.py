"""A Chromium and pages in it."""

import shutil
from pathlib import Path

import pytest
from debian import require_programs
from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def chromium():
    if find_chromium() is None:
        require_programs({"chromium": "chromium"})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=Path(find_chromium() or "chromium"), args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """One tab with the page in it, and what it asked for and complained about."""

    def __init__(self, page, stack):
        self.page = page
        self.hosts = set()
        self.complaints = []
        self._stack = stack
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]) if "://" in request.url else None)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self, *, key=None):
        self.page.goto(f"{self._stack.url}/#key={key or self._stack.api_key}")
        return self

    def upload(self, *files):
        self.page.set_input_files("#files", [str(file) for file in files])

    def drop(self, *files):
        """Let the files fall onto the page as a mouse does."""
        contents = [{"name": file.name, "bytes": list(file.read_bytes())} for file in files]
        self.page.evaluate(DROP, contents)

    def document(self, name):
        return self.page.locator("#document-list .document").filter(has_text=name)


DROP = """contents => {
  const transfer = new DataTransfer();
  for (const { name, bytes } of contents) transfer.items.add(new File([new Uint8Array(bytes)], name));
  for (const kind of ["dragenter", "dragover", "drop"])
    document.getElementById("drop").dispatchEvent(
      new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def visit(chromium, stack, request):
    locale = getattr(request, "param", "en-US")
    context = chromium.new_context(locale=locale, accept_downloads=True, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    yield Visit(context.new_page(), stack)
    context.close()
