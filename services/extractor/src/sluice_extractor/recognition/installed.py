"""Finds Tesseract on this machine, and tries it once behind the walls."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sluice_common.errors import CrashError
from sluice_common.settings import OcrSettings
from sluice_extractor.sandbox import Program, Sandbox

_ASK_S = 20
_LISTED = re.compile(r'^List of available languages in "(?P<folder>[^"]+)"')
_VERSION = re.compile(r"^tesseract v?(?P<version>\d[\w.-]*)", re.MULTILINE)
_ORIENTATION = "osd"
_BETTER = {"kor": ("Hangul", "script/Hangul")}
"""Models of a script that read more of a language than its own model, in particular Latin words in it."""
_HANGUL = ("kor", *_BETTER["kor"])
"""By itself, the model of the language reads syllables best."""
_SPECK = b"P5 64 64 255\n" + b"\xff" * (64 * 64)
"""A white picture."""


class NotInstalled(Exception):
    """There is nothing to recognise text with; the message says what is missing."""


@dataclass(frozen=True)
class Installation:
    """A Tesseract that works behind the walls here."""

    program: Program
    version: str
    languages: tuple[str, ...]
    """The models for those of the wanted ones that are here, in the order in which they are wanted."""
    absent: tuple[str, ...]
    """Wanted, and not here."""
    korean: str | None
    """The model that reads Hangul by itself, where Korean is wanted."""
    knows_orientation: bool


def find_tesseract(settings: OcrSettings, sandbox: Sandbox) -> Installation:
    """What of the wanted is installed.

    Raises:
        NotInstalled: no program, none of the languages, or it does not run behind the walls.
    """
    found = shutil.which(settings.program)
    if found is None:
        raise NotInstalled(f"there is no program {settings.program}")
    path = os.path.realpath(found)
    folder, available = _languages_of(path)
    wanted = settings.languages.split("+")
    languages = models_for(wanted, available)
    if not languages:
        raise NotInstalled(f"it has none of the languages {settings.languages}")
    installation = Installation(
        program=_program(path, folder, settings),
        version=_version_of(path),
        languages=languages,
        absent=tuple(language for language in wanted if not models_for([language], available)),
        korean=next((model for model in _HANGUL if model in available and set(_HANGUL) & set(languages)), None),
        knows_orientation=_ORIENTATION in available,
    )
    _try(installation, sandbox)
    return installation


def models_for(wanted: Sequence[str], available: Collection[str]) -> tuple[str, ...]:
    """The best model that is there for each of the wanted languages; nothing for those that are not there."""
    found = []
    for language in wanted:
        models = [model for model in (*_BETTER.get(language, ()), language) if model in available]
        found += [model for model in models[:1] if model not in found]
    return tuple(found)


def _program(path: str, folder: str, settings: OcrSettings) -> Program:
    return Program(
        path,
        arguments=(),
        memory_bytes=settings.memory_bytes,
        wall_clock_s=settings.wall_clock_s,
        # The thread limit keeps OpenMP from making threads, which the walls do not let it.
        environment={"OMP_THREAD_LIMIT": "1", "TESSDATA_PREFIX": folder},
        readable=(folder,),
    )


def _languages_of(path: str) -> tuple[str, frozenset[str]]:
    """The folder of the trained models, and their names."""
    first, *names = _said_by(path, ["--list-langs"]).splitlines() or [""]
    listed = _LISTED.match(first)
    if listed is None:
        raise NotInstalled("it does not list its languages")
    return str(Path(listed["folder"]).resolve()), frozenset(name.strip() for name in names)


def _version_of(path: str) -> str:
    found = _VERSION.search(_said_by(path, ["--version"]))
    return found["version"] if found else "unknown"


def _said_by(path: str, arguments: Sequence[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the program that the operator named
            [path, *arguments], capture_output=True, text=True, errors="replace", check=False, timeout=_ASK_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"it does not run: {type(error).__name__}") from error
    return done.stdout or done.stderr


def _try(installation: Installation, sandbox: Sandbox) -> None:
    arguments = ("stdin", "stdout", "-l", "+".join(installation.languages))
    try:
        sandbox.run(replace(installation.program, arguments=arguments), [_SPECK])
    except CrashError as error:
        raise NotInstalled(f"it does not run behind the walls: {error.detail}") from error
