"""The page of settings says what the code does."""

from pathlib import Path

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pages import section_of, table_of, word
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from sluice_api.reconciler import ReconcilerServiceSettings
from sluice_api.settings import ApiSettings
from sluice_common.settings import SECTIONS, STANDALONE
from sluice_embedder.settings import EmbedderSettings
from sluice_extractor.settings import ExtractorSettings

PAGE = "docs/reference/settings.md"
SERVICES = {
    "api": ApiSettings,
    "reconciler": ReconcilerServiceSettings,
    "extractor": ExtractorSettings,
    "embedder": EmbedderSettings,
}


def shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if default in (None, "", (), {}):
        return "unset"
    if isinstance(default, bool):
        return word(str(default).lower())
    return word(str(default))


def shown_range(field: FieldInfo) -> str:
    limits = {type(limit): limit for limit in field.metadata if isinstance(limit, Ge | Gt | Le | Lt)}
    least, above, most = limits.get(Ge), limits.get(Gt), limits.get(Le)
    said = [
        f"from {least.ge:g}" if least and least.ge < 10**6 else f"from {least.ge}" if least else "",
        f"above {above.gt:g}" if above else "",
        f"to {most.le}" if most else "",
    ]
    return " ".join(part for part in said if part)


def rows_of(section: str) -> list[tuple[str, ...]]:
    return [
        (
            word(f"SLUICE_{section}__{name}".upper()),
            shown_default(field),
            shown_range(field),
            str(field.description).replace("|", "\\|"),
        )
        for name, field in SECTIONS[section].model_fields.items()
    ]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_stands_on_the_page_with_its_default_and_meaning(section):
    assert table_of(PAGE, section) == rows_of(section)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_says_which_services_read_a_section(section):
    readers = [name for name, settings in SERVICES.items() if section in settings.model_fields]

    assert f"Read by: {', '.join(readers)}." in section_of(PAGE, section)


def test_every_setting_without_a_section_stands_on_the_page():
    assert dict(table_of(PAGE, "Settings without a section")) == {
        word(name): meaning for name, meaning in STANDALONE.items()
    }


def test_the_page_has_no_section_that_the_code_does_not_have():
    page = Path(__file__).parents[2] / PAGE
    headings = [line.removeprefix("### ") for line in page.read_text("utf-8").splitlines() if line.startswith("### ")]

    assert headings == list(SECTIONS)
