"""Writes the dashboards' JSON: `make dashboards`; with --check it only says whether the files are current."""

import json
import sys
from pathlib import Path

from describing import Dashboard, dashboard_json
from pages import overview, stages, tenant

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = (overview.OVERVIEW, *stages.STAGES, tenant.TENANT)


def main() -> int:
    """Write or compare every file; returns the exit status."""
    is_check = "--check" in sys.argv[1:]
    stale = [path for path, text in _files() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if is_check:
        sys.stderr.writelines(f"{path.name} is not what its description says; run: make dashboards\n" for path in stale)
        return 1 if stale else 0
    for path, text in _files():
        path.write_text(text, encoding="utf-8")
    return 0


def _files() -> list[tuple[Path, str]]:
    return [(FOLDER / f"{page.name}.json", _text_of(page)) for page in DASHBOARDS]


def _text_of(page: Dashboard) -> str:
    return json.dumps(dashboard_json(page), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
