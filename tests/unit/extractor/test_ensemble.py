import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
import wave
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from unit.extractor.recordings import a_recording, pages_of

from sluice_common.errors import LeaseLost
from sluice_common.settings import AudioSettings, SettingsError
from sluice_extractor.enriching import Findings, enriched
from sluice_extractor.listening.analysing import Analysis
from sluice_extractor.listening.built_in import BUILT_IN
from sluice_extractor.listening.ensemble import Ensemble, Vote, combined
from sluice_extractor.listening.member_process import InstalledPredictor
from sluice_extractor.listening.members import open_members
from sluice_extractor.listening.predictor import LeftOut, Member, labels_in
from sluice_extractor.listening.work_folders import WorkFolders

HOWTO = Path(__file__).parents[3] / "docs" / "howto" / "add-an-audio-model.md"


def wanted() -> bool:
    return False


def wait_until(condition, what: str, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        threading.Event().wait(0.02)


def member(name: str, labels: object, weight: float = 1.0) -> Member:
    return Member(name, "endpoint", weight, lambda _file, _is_stopped: labels)


def votes_of(ensemble: Ensemble, recording=None, file: Path | None = Path("never-opened")) -> dict[str, Vote]:
    return {vote.name: vote for vote in ensemble.votes_on(recording or a_recording(), file, wanted)}


# Votes


def test_confidences_are_averaged_by_weight_over_those_who_voted_on_the_label():
    votes = [
        Vote("speech", "built_in", 1.0, {"speech": 0.9}),
        Vote("mine", "endpoint", 3.0, {"speech": 0.5, "dog": 0.2}),
        Vote("deaf", "endpoint", 9.0, {}),
    ]

    labels = combined(votes)

    assert [(one["label"], one["confidence"]) for one in labels] == [("speech", 0.6), ("dog", 0.2)]
    assert labels[0]["votes"] == [
        {"member": "speech", "confidence": 0.9, "weight": 1.0},
        {"member": "mine", "confidence": 0.5, "weight": 3.0},
    ]


def test_the_same_votes_give_the_same_analysis_and_equals_are_in_the_order_of_their_names():
    votes = [Vote("a", "endpoint", 1.0, {"b": 0.5, "a": 0.5}), Vote("c", "endpoint", 1.0, {"c": 0.5})]

    assert [one["label"] for one in combined(votes)] == ["a", "b", "c"]
    assert combined(votes) == combined(votes)


def test_the_labels_that_are_told_have_an_end():
    votes = [Vote(f"m{n}", "endpoint", 1.0, {f"{n} {k}": 0.5 for k in range(50)}) for n in range(10)]

    assert len(combined(votes)) == 200


@pytest.mark.parametrize(
    ("fields", "label", "confidence"),
    [
        ({"loudness_lufs": -40.0}, "quiet", 1.0),
        ({"loudness_lufs": -35.0}, "quiet", 0.5),
        ({"loudness_lufs": -9.0}, "loud", 1.0),
        ({"loudness_lufs": -23.0}, "loud", 0.0),
        ({"loudness_lufs": None}, "quiet", 1.0),
        ({"clipped_ratio": 0.0005}, "clipped", 0.5),
        ({"silence_s": 2.5}, "silent", 0.25),
        ({"speech_s": 3.0, "speech_confidence": 0.8}, "speech", 0.8),
    ],
)
def test_the_built_in_members_say_what_the_measures_mean(fields, label, confidence):
    votes = votes_of(Ensemble(), a_recording(**fields))

    assert [vote.labels[label] for vote in votes.values() if label in vote.labels] == [pytest.approx(confidence)]


def test_the_detector_of_speech_is_left_out_and_named_where_there_is_none():
    vote = votes_of(Ensemble(), a_recording(speech_s=None, speech_confidence=None))["speech"]

    assert (vote.labels, vote.left_out) == ({}, "not_installed")


def test_a_weight_of_zero_leaves_a_member_out_without_asking_it():
    def never(_file, _is_stopped):
        raise AssertionError("it was asked")

    ensemble = Ensemble([Member("mine", "endpoint", 0, never)], {"loudness": 0, "speech": 2})

    votes = votes_of(ensemble)

    assert set(votes) == {built_in.name for built_in in BUILT_IN} - {"loudness"}
    assert votes["speech"].weight == 2
    assert not ensemble.wants_sound


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "speech",
        {"speech": "much"},
        {"speech": True},
        {"speech": 1.2},
        {"speech": -0.1},
        {"speech": float("nan")},
        {"": 0.5},
        {"x" * 65: 0.5},
        {"a\nb": 0.5},
        {1: 0.5},
        {str(number): 0.5 for number in range(51)},
    ],
)
def test_a_member_that_answers_rubbish_is_left_out_whole(answer):
    with pytest.raises(LeftOut, match="bad_answer"):
        labels_in(answer)

    assert votes_of(Ensemble([member("mine", answer)]))["mine"].left_out == "bad_answer"


# Packages with an entry point


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package with one predictor, as pip would."""

    def install(name: str, source: str) -> None:
        (tmp_path / f"{name}_model.py").write_text(textwrap.dedent(source))
        facts = tmp_path / f"{name}_model-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-model\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[sluice.audio_predictors]\n{name} = {name}_model:Predictor\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


@pytest.fixture
def predictor(install):
    """Starts an installed predictor; ends its process at the end."""
    with ExitStack() as stack:

        def start(name: str, source: str, **times: float) -> InstalledPredictor:
            install(name, source)
            made = InstalledPredictor(name, **{"predict_timeout_s": 20, "start_timeout_s": 60, **times})
            stack.callback(made.close)
            return made

        yield start


GOOD = """
    import os
    class Predictor:
        def predict(self, file):
            print("what a model prints is no answer")
            return {"bytes": min(file.stat().st_size / 100, 1), "leaked": float("SLUICE_SECRET" in os.environ)}
"""


def test_an_installed_predictor_answers_from_a_process_of_its_own_without_our_secrets(predictor, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_SECRET", "x")
    (tmp_path / "recording.wav").write_bytes(bytes(50))
    model = predictor("good", GOOD)

    assert model.ask(tmp_path / "recording.wav", wanted) == {"bytes": 0.5, "leaked": 0.0}
    assert model._process.pid != os.getpid()


BAD = {
    "raises": ("def predict(self, file): raise ValueError('no')", "failed"),
    "crashes": ("def predict(self, file): import os; os.abort()", "died"),
    "hangs": ("def predict(self, file): import threading; threading.Event().wait()", "timeout"),
    "hogs": ("def predict(self, file): return {'x': 'y' * 3_000_000}", "failed"),
    "has_no_model": ("def __init__(self): raise OSError('no model')", "did_not_start"),
    "never_loads": ("def __init__(self): import threading; threading.Event().wait()", "did_not_start"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_predictor_that_fails_costs_only_its_vote_and_is_named(predictor, what):
    body, reason = BAD[what]
    times = {"predict_timeout_s": 1.0} if what == "hangs" else {"start_timeout_s": 3.0} if what == "never_loads" else {}
    model = predictor(what, f"class Predictor:\n    {body}\n", **times)

    votes = votes_of(Ensemble([Member(what, "installed", 1.0, model.ask), member("other", {"dog": 1.0})]))

    assert (votes[what].left_out, votes["other"].labels) == (reason, {"dog": 1.0})


def test_a_predictor_that_died_is_started_again_for_the_next_recording(predictor):
    source = """
        class Predictor:
            def predict(self, file):
                if file.name == "deadly": import os; os._exit(3)
                return {"alive": 1}
    """
    model = predictor("mortal", source)

    with pytest.raises(LeftOut, match="died"):
        model.ask(Path("deadly"), wanted)

    assert model.ask(Path("harmless"), wanted) == {"alive": 1.0}


def test_who_stops_waiting_gets_away_at_once_and_the_process_is_ended(predictor):
    model = predictor("slow", f"class Predictor:\n    {BAD['hangs'][0]}\n")
    asked = threading.Event()

    def is_stopped() -> bool:
        asked.set()
        return model._process is not None and model._process.poll() is None and asked.is_set()

    with pytest.raises(LeftOut, match="stopped"):
        model.ask(Path("any"), is_stopped)

    assert model._process is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_predictor_does_not_outlive_an_extractor_that_is_killed(install, tmp_path):
    install("orphan", "class Predictor:\n    def predict(self, file): import threading; threading.Event().wait()\n")
    script = """
        import sys; from pathlib import Path
        from sluice_extractor.listening.member_process import InstalledPredictor
        model = InstalledPredictor("orphan", predict_timeout_s=600, start_timeout_s=60)
        model._started(lambda: False); print(model._process.pid, flush=True)
        model.ask(Path("any"), lambda: False)
    """
    extractor = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    pid = int(extractor.stdout.readline())

    extractor.kill()
    extractor.wait()

    wait_until(lambda: not psutil.pid_exists(pid), "the predictor lives on")


# Endpoints


class Endpoint(BaseHTTPRequestHandler):
    """A predictor over HTTP that does what its path says."""

    heard: list[tuple[str, str | None, bytes]] = []  # noqa: RUF012 - one server, one list
    gate = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append((self.headers["Content-Type"], self.headers["Authorization"], body))
        if self.path == "/hangs":
            self.gate.wait(30)
        status = 503 if self.path == "/away" else 302 if self.path == "/elsewhere" else 200
        answers = {"/rubbish": b"<html>", "/empty": b"{}", "/huge": b"[" * 3_000_000}
        answer = answers.get(self.path, json.dumps({"labels": {"dog": 0.75}}).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Location", "/good")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        """Nothing to log."""


@pytest.fixture(scope="module")
def endpoint_url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Endpoint.gate.set()
    server.shutdown()


def asked(url: str, file: Path, **fields: object) -> Vote:
    settings = AudioSettings(endpoints=[{"name": "mine", "url": url, **fields}])
    with ExitStack() as stack:
        return votes_of(Ensemble(open_members(settings, stack)), file=file)["mine"]


def test_an_endpoint_gets_the_recording_and_its_labels_count_with_its_weight(endpoint_url, tmp_path):
    file = tmp_path / "recording.wav"
    file.write_bytes(b"RIFF" + bytes(600_000))

    vote = asked(f"{endpoint_url}/good", file, weight=2.5, api_key="secret")

    assert (vote.labels, vote.weight, vote.kind) == ({"dog": 0.75}, 2.5, "endpoint")
    assert Endpoint.heard[-1] == ("audio/wav", "Bearer secret", file.read_bytes())


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/away", "http_503"),
        ("/elsewhere", "http_302"),
        ("/rubbish", "bad_answer"),
        ("/empty", "bad_answer"),
        ("/huge", "too_large"),
        ("/hangs", "timeout"),
    ],
)
def test_an_endpoint_that_fails_is_left_out_and_named(endpoint_url, tmp_path, path, reason):
    (tmp_path / "recording.wav").write_bytes(b"RIFF")

    assert asked(endpoint_url + path, tmp_path / "recording.wav", timeout_s=2).left_out == reason


def test_an_endpoint_that_is_not_there_is_left_out(tmp_path):
    (tmp_path / "recording.wav").write_bytes(b"RIFF")

    assert asked("http://127.0.0.1:9/", tmp_path / "recording.wav").left_out == "unreachable"


def test_members_of_one_name_and_weights_of_nobody_are_refused_at_the_start():
    with ExitStack() as stack, pytest.raises(SettingsError, match="loudness"):
        open_members(AudioSettings(endpoints=[{"name": "loudness", "url": "http://x/"}]), stack)
    dogs = [{"name": "dogs", "url": "http://x/", "weight": 2}]
    for name in ("nobody", "dogs"):  # an endpoint has its weight beside its address
        with ExitStack() as stack, pytest.raises(SettingsError, match=name):
            open_members(AudioSettings(endpoints=dogs, weights={name: 1}), stack)


# The file that members get, and the analysis


def analysed(folders: WorkFolders, *members: Member, samples: bytes = bytes(320_000)) -> tuple[list, Findings]:
    findings = Findings()
    enrichment = Analysis(Ensemble(members), folders)
    pages = list(enriched(iter(pages_of(a_recording(), samples, part_s=4)), [enrichment], findings))
    return pages, findings


def test_members_hear_the_whole_recording_as_one_private_wav_file_that_is_gone_afterwards(tmp_path):
    seen = {}

    def listen(file: Path, _is_stopped) -> dict[str, float]:
        with wave.open(str(file)) as recording:
            seen["shape"] = (recording.getframerate(), recording.getnchannels(), recording.getnframes())
        seen["modes"] = stat.S_IMODE(file.parent.stat().st_mode)
        return {}

    pages, findings = analysed(WorkFolders(tmp_path), Member("mine", "installed", 1.0, listen))

    assert seen == {"shape": (16_000, 1, 160_000), "modes": 0o700}
    assert list(tmp_path.iterdir()) == []
    assert [member["name"] for member in findings.analysis["members"]][-1] == "mine"
    assert sum(len(page.media) for page in pages) == 4  # the sound stays for who transcribes it


def test_the_description_has_the_tags_and_the_measures(tmp_path):
    pages, findings = analysed(WorkFolders(tmp_path), member("mine", {"dog": 0.9, "cat": 0.1}))

    assert pages[-1].text == (
        "Title: A song\nWAV recording (pcm_s16le, 48000 Hz, stereo), 0:00:10\nLoudness: -23.0 LUFS\n"
        "Silence: 0:00:01\nLabels: dog (0.90)\n"
    )
    assert findings.analysis["measures"]["loudness_lufs"] == -23.0
    assert json.loads(json.dumps(findings.analysis)) == findings.analysis


def test_the_file_is_gone_when_the_pages_are_left_half_way(tmp_path):
    enrichment = Analysis(Ensemble([member("mine", {})]), WorkFolders(tmp_path))
    with closing(enriched(iter(pages_of(a_recording(), bytes(320_000), 4)), [enrichment], Findings())) as pages:
        next(pages)
        assert len(list(tmp_path.iterdir())) == 1

    assert list(tmp_path.iterdir()) == []


def test_without_room_for_the_file_only_those_who_need_it_are_left_out(tmp_path):
    _, findings = analysed(WorkFolders(tmp_path / "nowhere"), member("mine", {"dog": 1.0}))

    reasons = {one["name"]: one["reason"] for one in findings.analysis["members"]}
    assert reasons == {"duration": None, "loudness": None, "clipping": None, "silence": None} | {
        "speech": "not_installed",
        "mine": "no_room",
    }


def test_a_child_that_claims_to_be_many_recordings_has_the_members_asked_once(tmp_path):
    asked = []
    ensemble = Ensemble([Member("mine", "endpoint", 1.0, lambda file, _: asked.append(file) or {})])
    pages = [*pages_of(a_recording(), bytes(32_000)), *pages_of(a_recording(), bytes(32_000))]

    list(enriched(iter(pages), [Analysis(ensemble, WorkFolders(tmp_path))], Findings()))

    assert len(asked) == 1


def test_a_document_that_nobody_waits_for_gets_no_analysis(tmp_path):
    findings = Findings(is_stopped=lambda: True)

    with pytest.raises(LeaseLost):
        list(enriched(iter(pages_of(a_recording())), [Analysis(Ensemble(), WorkFolders(tmp_path))], findings))


def test_what_a_killed_extractor_left_is_swept_away_and_what_a_living_one_has_is_not(tmp_path):
    script = f"""
        import signal
        from pathlib import Path
        from sluice_extractor.listening.work_folders import WorkFolders
        with WorkFolders(Path({str(tmp_path)!r})).folder() as path:
            (path / "recording.wav").write_bytes(bytes(1000))
            print(path, flush=True)
            signal.pause()
    """
    extractors = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    killed, living = (Path(extractor.stdout.readline().strip()) for extractor in extractors)
    extractors[0].send_signal(signal.SIGKILL)
    extractors[0].wait()

    assert (killed / "recording.wav").exists()
    with WorkFolders(tmp_path).folder():
        left = {killed.exists(), (living / "recording.wav").exists()}

    assert left == {False, True}
    extractors[1].kill()
    extractors[1].wait()
    assert WorkFolders(tmp_path).sweep() == 1
    assert list(tmp_path.iterdir()) == []
