"""Opens the recognition of text in pictures as the settings want it, and says at the start what there is."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import structlog

from sluice_common.settings import OcrSettings, SettingsError
from sluice_extractor.recognition.installed import NotInstalled, find_tesseract
from sluice_extractor.recognition.on_pages import Recognition
from sluice_extractor.recognition.tesseract import Tesseract
from sluice_extractor.sandbox import Sandbox

log = structlog.get_logger(__name__)


def open_recognition(settings: OcrSettings, sandbox: Sandbox, stack: ExitStack) -> Recognition:
    """The recognition, which ends with *stack*; one without a recogniser where none is wanted or there is none.

    Raises:
        SettingsError: it must be on, and cannot.
    """
    at_once = settings.at_once or os.cpu_count() or 1
    threads = ThreadPoolExecutor(at_once, thread_name_prefix="recognition")
    stack.callback(threads.shutdown)
    if settings.enabled == "off":
        log.info("recognition_missing", reason="it is switched off")
        return Recognition(None, threads, at_once, missing="text recognition is switched off on this server")
    try:
        recogniser = _tesseract(settings, sandbox)
    except NotInstalled as error:
        if settings.enabled == "on":
            raise SettingsError(f"SLUICE_OCR__ENABLED is on, and Tesseract cannot be used: {error}") from error
        log.info("recognition_missing", reason=str(error))
        return Recognition(None, threads, at_once, missing=f"Tesseract cannot be used on this server: {error}")
    return Recognition(recogniser, threads, at_once)


def _tesseract(settings: OcrSettings, sandbox: Sandbox) -> Tesseract:
    found = find_tesseract(settings, sandbox)
    log.info("recognition_ready", version=found.version, languages=found.languages, absent=found.absent)
    return Tesseract(
        sandbox,
        found.program,
        languages=found.languages,
        korean=found.korean,
        knows_orientation=found.knows_orientation,
    )
