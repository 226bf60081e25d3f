"""Recordings over HTTP, on a local stack with a provider of transcripts and a predictor of somebody's own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import system
from oracle import CLEAN, Oracle, wait_until
from transcription_server import SEGMENTS, Speaking, transcription_server
from unit.extractor import audio_files as audio
from unit.extractor.test_ensemble import endpoint_url  # noqa: F401 - the fixture

from sluice_client import Gone, SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack

SAID = [segment["text"].strip() for segment in SEGMENTS]


@pytest.fixture(scope="module")
def provider() -> Iterator[Speaking]:
    with transcription_server() as provider:
        yield provider


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Where recordings lie while members hear them."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def hearing_stack(tmp_path_factory, provider, endpoint_url, work) -> Iterator[LocalStack]:  # noqa: F811 - the fixture
    endpoints = [{"name": "dogs", "url": f"{endpoint_url}/good"}, {"name": "away", "url": f"{endpoint_url}/away"}]
    settings = {
        "SLUICE_TRANSCRIPTION__BASE_URL": provider.url,
        "SLUICE_AUDIO__ENDPOINTS": json.dumps(endpoints),
        "SLUICE_AUDIO__WEIGHTS": '{"silence": 0}',
        "SLUICE_AUDIO__WORK_ROOT": str(work),
    }
    folder = tmp_path_factory.mktemp("hearing")
    with LocalStack(folder, environment=system(**settings), postgres_settings=VOLATILE) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def client(hearing_stack) -> Iterator[SluiceClient]:
    with SluiceClient(hearing_stack.url, hearing_stack.api_key) as client:
        yield client


@pytest.fixture(scope="module")
def speech():
    return audio.samples_of(audio.SPEECH_MP3)


@pytest.fixture(scope="module")
def uploaded(hearing_stack, speech) -> dict[str, str]:
    """A recording of each format, all at once: ids by their endings."""
    with SluiceClient(hearing_stack.url, hearing_stack.api_key) as client:
        contents = {ending: audio.encoded(speech, ending, tags={"title": f"In {ending}"}) for ending in audio.FORMATS}
        return {ending: client.upload(content, name=f"it.{ending}").id for ending, content in contents.items()}


@pytest.mark.parametrize("ending", audio.FORMATS)
def test_a_recording_of_each_format_is_found_by_what_is_said_in_it_with_its_time(client, uploaded, ending):
    document = client.wait(uploaded[ending], timeout_s=200)

    assert (document.status, document.media_type) == ("ready", audio.FORMATS[ending][2])
    assert document.warnings == ()
    chunks = list(client.chunks(document.id))
    assert (chunks[0].text, chunks[0].time_start) == ("\n".join(SAID), 0.0)
    assert chunks[0].time_end == pytest.approx(9.5)
    analysis = client.analysis(document.id)
    assert analysis["duration_s"] == pytest.approx(10, abs=0.2)
    assert [label["label"] for label in analysis["labels"][:2]] == ["speech", "dog"]
    hits = client.search("when is the coffee machine descaled", top_k=50)
    assert document.id in {hit.document_id for hit in hits if hit.time_start == 0.0}


def test_the_members_are_named_with_what_became_of_them_and_the_job_has_the_analysis(client):
    document = client.wait(client.upload(audio.SPEECH_MP3, name="talk.mp3").id, timeout_s=120)

    analysis = client.analysis(document.id)

    members = {member["name"]: (member["kind"], member["reason"]) for member in analysis["members"]}
    assert members == {
        "duration": ("built_in", None),
        "loudness": ("built_in", None),
        "clipping": ("built_in", None),
        "speech": ("built_in", None),
        "dogs": ("endpoint", None),
        "away": ("endpoint", "http_503"),
    }
    assert analysis["transcript"] == {"outcome": "ok", "model": "whisper-1", "language": "english"}
    job = client.job(document.job_id)
    assert (job.status, job.result["analysis"]) == ("success", analysis)


def test_a_deleted_recording_leaves_nothing_behind(client, hearing_stack, work, speech):
    content = audio.encoded(speech, "wav", tags={"title": "to be deleted"})
    document = client.wait(client.upload(content, name="gone.wav").id, timeout_s=120)
    client.analysis(document.id)

    client.delete(document.id)

    with pytest.raises(Gone):
        client.analysis(document.id)
    wait_until(lambda: not list(work.iterdir()), seconds=30, message="work folders are left")
    assert Oracle(hearing_stack).settle(seconds=60) == CLEAN


def test_without_a_provider_a_recording_is_ready_on_its_description(stack):
    tags = {"title": "Evening raga", "artist": "A quartet"}
    content = audio.encoded(audio.sine(440, 3, dbfs=-12), "ogg", tags=tags)
    with SluiceClient(stack.url, stack.api_key) as client:
        document = client.wait(client.upload(content, name="raga.ogg").id, timeout_s=120)

        assert (document.status, [warning["code"] for warning in document.warnings]) == ("ready", ["not_transcribed"])
        assert client.analysis(document.id)["transcript"]["outcome"] == "not_configured"
        assert document.id in {hit.document_id for hit in client.search("evening raga by a quartet")}
