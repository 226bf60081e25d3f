"""Follows the page on adding an audio model, step by step."""

import json
import os
import re
import tomllib
from contextlib import ExitStack
from pathlib import Path

from unit.extractor import audio_files as audio
from unit.extractor.recordings import a_recording

from sluice_common.settings import AudioSettings, load_settings
from sluice_extractor.listening.ensemble import Ensemble
from sluice_extractor.listening.members import open_members
from sluice_extractor.listening.predictor import ENTRY_POINTS
from sluice_extractor.settings import ExtractorSettings

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "add-an-audio-model.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_a_package_that_was_made_as_the_page_says_has_its_vote(tmp_path, monkeypatch):
    ((name, target),) = tomllib.loads(block("toml"))["project"]["entry-points"][ENTRY_POINTS].items()
    facts = tmp_path / "length_predictor-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: length-predictor\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{name} = {target}\n")
    (tmp_path / f"{target.partition(':')[0]}.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    weights = json.loads(re.search(r"SLUICE_AUDIO__WEIGHTS='(.*?)'", PAGE)[1])
    (tmp_path / "recording.wav").write_bytes(audio.wav(audio.sine(440, 6, rate=16_000), rate=16_000))

    with ExitStack() as stack:
        ensemble = Ensemble(open_members(AudioSettings(weights=weights), stack), weights)
        votes = ensemble.votes_on(a_recording(), tmp_path / "recording.wav", lambda: False)

    (vote,) = [vote for vote in votes if vote.kind == "installed"]
    assert (vote.name, vote.labels, vote.weight, vote.left_out) == ("length", {"long": 0.1}, 2.0, None)


def test_the_settings_of_the_page_name_an_endpoint(monkeypatch):
    exported = re.search(r"^export (\w+)='(.*)'$", PAGE, re.MULTILINE)
    needed = {
        "SLUICE_DATABASE__URL": "postgresql://x@127.0.0.1/x",
        "SLUICE_BROKER__URL": "redis://127.0.0.1/0",
        "SLUICE_OBJECTS__ROOT": "/tmp",
    }
    for variable, value in {exported[1]: exported[2], **needed}.items():
        monkeypatch.setenv(variable, value)

    (endpoint,) = load_settings(ExtractorSettings, os.environ).audio.endpoints

    assert (endpoint.name, str(endpoint.url), endpoint.timeout_s) == ("scenes", "http://127.0.0.1:9000/predict", 30)
