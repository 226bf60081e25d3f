"""The members that owners bring: packages with an entry point, and addresses that answer over HTTP."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sluice_common.settings import AudioEndpoint, AudioSettings, SettingsError
from sluice_extractor.listening.built_in import BUILT_IN
from sluice_extractor.listening.member_process import InstalledPredictor
from sluice_extractor.listening.predictor import ENTRY_POINTS, LeftOut, Member


def open_members(settings: AudioSettings, stack: ExitStack) -> list[Member]:
    """Every member beside the built-in ones; their processes start at the first recording and end with *stack*.

    Raises:
        SettingsError: two members have the same name, or a weight is for none of those that get theirs by it.
    """
    installed = list(_installed(settings, stack))
    weighted = [built_in.name for built_in in BUILT_IN] + [member.name for member in installed]
    names = weighted + [endpoint.name for endpoint in settings.endpoints]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"SLUICE_AUDIO__ENDPOINTS: two members are called {twice[0]}")
    unknown = sorted(set(settings.weights) - set(weighted))
    if unknown:
        raise SettingsError(f"SLUICE_AUDIO__WEIGHTS: no built-in or installed member is called {unknown[0]}")
    return installed + [_endpoint_member(endpoint) for endpoint in settings.endpoints]


def _installed(settings: AudioSettings, stack: ExitStack) -> Iterator[Member]:
    for name in sorted({entry_point.name for entry_point in entry_points(group=ENTRY_POINTS)}):
        predictor = InstalledPredictor(
            name, predict_timeout_s=settings.predict_timeout_s, start_timeout_s=settings.start_timeout_s
        )
        stack.callback(predictor.close)
        yield Member(name, "installed", settings.weights.get(name, 1.0), predictor.ask)


def _endpoint_member(endpoint: AudioEndpoint) -> Member:
    from sluice_common.adapters.audio_endpoint import EndpointFailed, HttpPredictor  # noqa: PLC0415 - needs an HTTP client

    predictor = HttpPredictor(endpoint)

    def ask(file: Path, is_stopped: Callable[[], bool]) -> Any:  # whatever it answers
        try:
            return predictor.predict(file, is_stopped=is_stopped)
        except EndpointFailed as error:
            raise LeftOut(error.reason) from error

    return Member(endpoint.name, "endpoint", endpoint.weight, ask)
