import struct

import numpy as np
import pytest
from unit.extractor import audio_files as audio
from unit.extractor.hostile_files import plain_pdf
from unit.extractor.recordings import a_recording

from sluice_common.errors import CorruptDocument, DocumentTooLarge, PermanentError, UnsupportedFormat
from sluice_extractor.parsing import audio as reader
from sluice_extractor.parsing import by_type
from sluice_extractor.parsing.audio_measuring import Levels, Loudness
from sluice_extractor.parsing.audio_tags import tags_of
from sluice_extractor.parsing.media import Recording, Sound
from sluice_extractor.parsing.original import Allowance, Original
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox
from sluice_extractor.sandbox.frames import MalformedFrame, parse_frame
from sluice_extractor.sandbox.media_frames import encoded_media

LIMITS = ReadLimits(512 << 20, 60, 5, 120, 5_000, 1_000_000, max_audio_s=60)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
def read(sandbox, tmp_path):
    """Reads a recording in a child; returns its reading and its pages."""

    def read(content: bytes, name: str = "recording", *, wants_sound: bool = False):
        path = tmp_path / "original"
        path.write_bytes(content)
        with sandbox.read(ReadRequest(path, name, wants_sound=wants_sound)) as reading:
            return reading, list(reading)

    return read


@pytest.fixture
def measured(read):
    """What was measured in a recording."""
    return lambda content: recording_of(read(content)[1])


def recording_of(pages) -> Recording:
    (recording,) = pages[-1].media
    assert isinstance(recording, Recording)
    return recording


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return audio.samples_of(audio.SPEECH_MP3)


# Formats


@pytest.mark.parametrize("ending", audio.FORMATS)
def test_a_recording_of_each_format_is_read_whatever_it_is_called(read, ending):
    content = audio.encoded(audio.sine(1000, 2, dbfs=-20), ending)

    reading, pages = read(content, "somewhere.bin")

    assert (reading.media_type, reading.reader) == (audio.FORMATS[ending][2], "ffmpeg")
    assert recording_of(pages).duration_s == pytest.approx(2, abs=0.1)
    assert recording_of(pages).loudness_lufs == pytest.approx(-23, abs=0.6)  # some lose a little
    assert reading.remarks == ()


def test_the_tags_of_its_makers_are_told(read):
    tags = {"title": "달의 노래", "artist": "누군가", "album": "밤", "comment": "녹음실에서", "encoder": "nobody"}

    for ending in ("mp3", "flac", "ogg", "m4a"):
        _, pages = read(audio.encoded(audio.sine(440, 1), ending, tags=tags))
        told = dict(recording_of(pages).tags)
        assert {name: told[name] for name in ("title", "artist", "album")} == {
            "title": "달의 노래",
            "artist": "누군가",
            "album": "밤",
        }
        assert "encoder" not in told


def test_korean_tags_that_were_marked_as_latin_1_are_repaired_and_french_ones_are_not():
    as_marked = "사랑".encode("cp949").decode("latin-1")

    assert tags_of({"TITLE": as_marked, "artist": "Chloé Zhâo"}) == (("title", "사랑"), ("artist", "Chloé Zhâo"))
    assert tags_of({"title": "밤".encode().decode("latin-1")}) == (("title", "밤"),)


def test_tags_are_cleaned_and_bounded():
    tags = dict(tags_of({"title": "a\0b\r\nc" + "x" * 9_000, "lyrics-eng": "line one\nline two", "title-deu": "other"}))

    assert tags["title"].startswith("ab cx")
    assert len(tags["title"]) == 500
    assert tags["lyrics"] == "line one\nline two"


def test_the_sound_comes_in_parts_with_their_times_when_somebody_hears_it(read):
    _, deaf = read(audio.wav(audio.sine(440, 5)))
    _, pages = read(audio.wav(audio.sine(440, 50)), wants_sound=True)

    assert [len(page.media) for page in deaf[:-1]] == [0]
    assert [(page.place.time_start, page.place.time_end) for page in pages[:-1]] == [(0, 30), (30, 50)]
    sounds = [media for page in pages[:-1] for media in page.media]
    assert all(isinstance(sound, Sound) and sound.rate == 16_000 for sound in sounds)
    assert sum(len(sound.samples) for sound in sounds) == 2 * 16_000 * 50


def test_a_video_is_read_for_its_sound_and_says_so(read):
    for container, media_type in (("mp4", "video/mp4"), ("webm", "video/webm")):
        reading, pages = read(audio.video(audio.sine(440, 1), container))

        assert reading.media_type == media_type
        assert [remark.code for remark in reading.remarks] == ["video_not_read"]
        assert recording_of(pages).has_video


def test_a_video_without_sound_is_refused_by_its_name(read):
    with pytest.raises(UnsupportedFormat, match="video without sound"):
        read(audio.video(None))


@pytest.mark.parametrize("channels", [2, 6, 9, 12, 64])
def test_a_recording_of_many_channels_is_read(read, channels):
    sines = [audio.sine(440, 1, dbfs=-20)] * (channels - 1)

    _, pages = read(audio.wav(*sines, audio.sine(440, 1, dbfs=-6)), wants_sound=True)

    recording = recording_of(pages)
    assert (recording.channels, recording.peak_dbfs) == (channels, pytest.approx(-6, abs=0.05))
    assert len(pages[0].media[0].samples) == 32_000


def test_a_cover_picture_makes_no_video(read):
    png = b"\x89PNG\r\n\x1a\n" + bytes(200)
    cover = (b"APIC", b"\0image/png\0\x03\0" + png)

    reading, pages = read(audio.with_id3(audio.SPEECH_MP3, (b"TIT2", b"\0Covered"), cover))

    assert not recording_of(pages).has_video
    assert ("title", "Covered") in recording_of(pages).tags
    assert reading.media_type == "audio/mpeg"


def test_a_name_that_says_something_else_is_remarked(read):
    reading, _ = read(audio.wav(audio.sine(440, 1)), "report.pdf")

    assert [remark.code for remark in reading.remarks] == ["type_mismatch"]


def test_a_recording_attached_to_a_mail_is_not_read():
    attached = Original(audio.wav(audio.sine(440, 1)), "voice.wav", allowance=Allowance(1000))

    with pytest.raises(UnsupportedFormat, match="WAV recording"):
        by_type.open_document(attached)


def test_without_the_decoder_the_refusal_says_what_to_install(monkeypatch):
    monkeypatch.setattr(reader.importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(UnsupportedFormat, match="extra `audio`") as refused:
        by_type.open_document(Original(audio.SPEECH_MP3, "speech.mp3"))

    assert refused.value.detail_code == "audio_not_installed"


@pytest.mark.parametrize(
    "text",
    [b"ID3 is how the tags of music begin.", b"\xff\xfeU\0T\0F\0-\0001\0006\0", b"\xff\xf1 a thorn \xff\xfb again"],
)
def test_a_text_is_not_taken_for_a_recording(text):
    assert not reader.fits_audio(Original(text, "notes.txt"))


# Loudness, by the reference signals of ITU-R BS.1770 and EBU Tech 3341


def test_a_sine_of_997_hz_at_full_scale_in_one_channel_has_minus_3_01_lufs():
    assert loudness_of(audio.sine(997, 5)) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_stereo_sine_of_1000_hz_at_minus_23_dbfs_has_minus_23_lufs_at_any_rate(rate):
    sine = audio.sine(1000, 3, dbfs=-23, rate=rate)

    assert loudness_of(sine, sine, rate=rate) == pytest.approx(-23.0, abs=0.1)


def test_what_is_much_quieter_than_the_rest_does_not_count():
    parts = [(-36, 4), (-23, 20), (-36, 4)]  # EBU Tech 3341, case 3, shortened
    sine = np.concatenate([audio.sine(1000, seconds, dbfs=dbfs) for dbfs, seconds in parts])

    assert loudness_of(sine, sine) == pytest.approx(-23.0, abs=0.1)


def test_what_is_a_little_quieter_counts():
    parts = [(-26, 20), (-20, 20.1), (-26, 20)]  # EBU Tech 3341, case 5
    sine = np.concatenate([audio.sine(1000, seconds, dbfs=dbfs) for dbfs, seconds in parts])

    assert loudness_of(sine, sine) == pytest.approx(-23.0, abs=0.1)


def test_surround_channels_count_more_and_the_one_for_bass_counts_nothing():
    levels = {"FL": -28, "FR": -28, "FC": -24, "LFE": 0, "BL": -30, "BR": -30}  # EBU Tech 3341, case 6
    channels = [audio.sine(1000, 5, dbfs=dbfs) for dbfs in levels.values()]

    assert loudness_of(*channels, names=list(levels)) == pytest.approx(-23.0, abs=0.1)


def test_silence_and_what_is_shorter_than_a_block_have_no_loudness():
    assert loudness_of(np.zeros(48_000, "f4")) is None
    assert loudness_of(audio.sine(1000, 0.3)) is None


def loudness_of(*channels, rate: int = 48_000, names: list[str] | None = None) -> float | None:
    loudness = Loudness(rate, names or ["FL", "FR"][: len(channels)])
    whole = np.stack(channels).astype("f4")
    for start in range(0, whole.shape[1], 50_000):  # as it comes from the decoder
        loudness.take(whole[:, start : start + 50_000])
    return loudness.finish()


# Clipping, silence, speech


def test_a_sine_that_fits_is_not_clipped_and_one_that_does_not_is():
    assert levels_of(audio.sine(440, 2)).clipped_ratio == 0
    driven = np.clip(1.5 * audio.sine(440, 2), -1, 1)
    expected = np.mean(np.abs(1.5 * audio.sine(440, 2)) >= 0.999)

    assert levels_of(driven).clipped_ratio == pytest.approx(float(expected), rel=0.01)


def test_two_full_samples_are_a_peak_and_three_are_clipping():
    def with_full(row: int) -> np.ndarray:
        samples = np.zeros((1, 100), "f4")
        samples[0, 50 : 50 + row] = 1
        return samples

    ratios = []
    for row in (2, 3, 7):
        levels = Levels(48_000, 1)
        for cut in (slice(0, 51), slice(51, 52), slice(52, 100)):  # a row reaches over the borders of blocks
            levels.take(with_full(row)[:, cut])
        ratios.append(levels.clipped_ratio)

    assert ratios == [0, 0.03, 0.07]


def test_the_peak_is_that_of_the_greatest_sample(measured):
    assert measured(audio.wav(audio.sine(440, 1, dbfs=-6))).peak_dbfs == pytest.approx(-6, abs=0.05)
    assert measured(audio.wav(np.zeros(48_000, "f4"))).peak_dbfs is None


def test_pauses_of_half_a_second_are_silences_with_their_times(measured):
    tone, pause, breath = audio.sine(440, 1), np.zeros(48_000, "f4"), np.zeros(14_400, "f4")

    heard = measured(audio.wav(np.concatenate([tone, pause, tone, breath, tone, pause, pause])))

    assert heard.silences == ((1.0, 2.0), (4.3, 6.3))
    assert heard.silence_s == pytest.approx(3.0)


def test_somebody_who_reads_aloud_is_heard_and_when(measured):
    heard = measured(audio.SPEECH_MP3)

    assert heard.speech_confidence > 0.9
    assert 6 < heard.speech_s < 9
    assert all(0 <= start < end <= heard.duration_s for start, end in heard.speeches)


def test_tones_noise_music_and_silence_are_no_speech(measured):
    chance = np.random.default_rng(1)
    chord = sum(audio.sine(f, 4, dbfs=-18) * np.exp(-3 * (np.arange(192_000) / 48_000 % 0.5)) for f in (220, 277, 330))
    signals = {
        "tone": audio.sine(440, 4, dbfs=-12),
        "noise": chance.normal(0, 0.1, 192_000).astype("f4"),
        "music": chord.astype("f4"),
        "silence": np.zeros(192_000, "f4"),
    }

    heard = {name: measured(audio.wav(samples)) for name, samples in signals.items()}

    assert {name: one.speech_s for name, one in heard.items()} == dict.fromkeys(signals, 0)
    assert max(one.speech_confidence for one in heard.values()) < 0.5


def test_speech_between_silences_is_found_at_its_time(measured, speech):
    quiet = np.zeros(48_000 * 5, "f4")

    heard = measured(audio.wav(np.concatenate([quiet, speech, quiet])))

    assert heard.speeches[0][0] == pytest.approx(6.1, abs=0.3)
    assert heard.speeches[-1][1] <= 15.1


def levels_of(samples: np.ndarray) -> Levels:
    levels = Levels(48_000, 1)
    for start in range(0, len(samples), 50_000):
        levels.take(samples[np.newaxis, start : start + 50_000])
    return levels


# Broken and hostile


def test_what_was_cut_off_is_read_as_far_as_it_goes(read, speech):
    for ending, remarks in (("wav", ["recording_truncated"]), ("flac", ["recording_truncated"])):
        content = audio.encoded(speech, ending)

        reading, pages = read(content[: len(content) // 2])

        assert 3 < recording_of(pages).duration_s < 7
        assert remarks[0] in [remark.code for remark in reading.remarks]


def test_a_piece_that_is_damaged_is_left_out_and_remarked(read, speech):
    content = bytearray(audio.encoded(speech, "flac"))
    content[len(content) // 2 : len(content) // 2 + len(content) // 10] = bytes(len(content) // 10)

    reading, pages = read(bytes(content))

    assert recording_of(pages).duration_s > 8
    assert {remark.code for remark in reading.remarks} & {"recording_damaged", "recording_truncated"}


def test_a_recording_that_gets_along_without_an_end_in_its_header_is_read(read):
    _, pages = read(audio.pcm_wav(body=audio.wav(audio.sine(440, 2))[44:], says=0xFFFFFFFF))

    assert recording_of(pages).duration_s == pytest.approx(2, abs=0.01)


def test_floating_point_samples_that_are_no_numbers_are_silence(read):
    body = np.array([np.nan, np.inf, -np.inf, 0.5] * 12_000, "<f4").tobytes()
    head = struct.pack("<HHIIHH", 3, 1, 48_000, 192_000, 4, 32)
    content = b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt \x10\0\0\0" + head + b"data"

    _, pages = read(content + struct.pack("<I", len(body)) + body)

    assert recording_of(pages).duration_s == pytest.approx(1, abs=0.01)


def garbage(size: int) -> bytes:
    return np.random.default_rng(7).integers(0, 256, size, "u1").tobytes()


def flac_of_a_day() -> bytes:
    content = bytearray(audio.encoded(audio.sine(440, 1), "flac"))
    content[22:26] = b"\xff" * 4  # the number of samples
    return bytes(content)


def m4a_without_index() -> bytes:
    return audio.encoded(audio.sine(440, 5), "m4a").rpartition(b"moov")[0]


def m4a_with_a_giant_table() -> bytes:
    content = bytearray(audio.encoded(audio.sine(440, 5), "m4a"))
    for table in (b"stsz", b"stsc", b"stco", b"stts"):
        at = content.index(table)
        content[at + 8 : at + 16] = b"\0\0\0\0\x3f\xff\xff\xff" if table == b"stsz" else b"\x3f\xff\xff\xff" * 2
    return bytes(content)


HOSTILE = {
    "an hour of silence, which is hardly a byte": (audio.hour_of_silence, DocumentTooLarge),
    "a header that says a day": (flac_of_a_day, DocumentTooLarge),
    "a thousand channels": (lambda: audio.pcm_wav(channels=1000, body=bytes(400_000)), PermanentError),
    "no channel": (lambda: audio.pcm_wav(channels=0, body=bytes(4000)), CorruptDocument),
    "a rate of one": (lambda: audio.pcm_wav(rate=1, body=bytes(4000)), CorruptDocument),
    "a rate of four billion": (lambda: audio.pcm_wav(rate=0xFFFFFFFF, body=bytes(4000)), PermanentError),
    "nothing behind the header": (audio.pcm_wav, CorruptDocument),
    "garbage behind the magic of WAV": (lambda: b"RIFF\0\0\0\0WAVE" + garbage(50_000), PermanentError),
    "garbage behind the magic of FLAC": (lambda: b"fLaC" + garbage(50_000), CorruptDocument),
    "garbage behind the magic of Ogg": (lambda: b"OggS" + garbage(50_000), CorruptDocument),
    "garbage behind the magic of MPEG-4": (lambda: b"\0\0\0\x20ftypM4A " + garbage(50_000), CorruptDocument),
    "garbage behind the magic of Matroska": (lambda: b"\x1aE\xdf\xa3" + garbage(50_000), PermanentError),
    "garbage behind an ID3 tag": (lambda: audio.with_id3(garbage(50_000), (b"TIT2", b"\0x")), CorruptDocument),
    "an MPEG-4 without its index": (m4a_without_index, CorruptDocument),
    "an MPEG-4 with a table of four billion rows": (m4a_with_a_giant_table, CorruptDocument),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_recording_ends_with_a_code_and_the_next_document_is_read(read, what):
    make, expected = HOSTILE[what]

    with pytest.raises(expected):
        read(make(), "recording.mp3")

    assert read(plain_pdf())[1][0].text == "Hello world"


def test_a_giant_tag_and_a_giant_cover_do_not_matter(read):
    giant = (b"COMM", b"\0eng\0" + b"x" * (20 << 20))
    cover = (b"APIC", b"\0image/png\0\x03\0" + bytes(20 << 20))

    _, pages = read(audio.with_id3(audio.SPEECH_MP3, giant, cover))

    recording = recording_of(pages)
    assert recording.duration_s == pytest.approx(10, abs=0.2)
    assert sum(len(text) for _, text in recording.tags) < 25_000


def test_a_recording_longer_than_its_header_says_is_cut_off_at_the_limit(read):
    samples = np.zeros(70 * 8000, "u1").tobytes()
    content = bytearray(audio.pcm_wav(rate=8000, bits=8, body=samples, says=0))

    with pytest.raises(DocumentTooLarge, match="60 s"):
        read(bytes(content))


# What a child says is not believed


def test_a_recording_travels_unchanged():
    assert parse_frame(encoded_media(a_recording())) == a_recording()


@pytest.mark.parametrize(
    "fields",
    [
        {"duration_s": -1.0},
        {"silences": ((1.0, 99.0),)},
        {"silences": ((3.0, 2.0),)},
        {"silences": ((1.0, 2.0),) * 501},
        {"silence_s": 20.0},
        {"clipped_ratio": 1.5},
        {"tags": (("title", "a\0b"),)},
        {"tags": (("Title", "x"),)},
        {"tags": (("title", "x" * 20_001),)},
        {"codec": "x'; --"},
        {"rate": 0},
        {"loudness_lufs": float("nan"), "peak_dbfs": 2_000.0},
    ],
)
def test_what_no_honest_child_sends_is_refused(fields):
    with pytest.raises(MalformedFrame):
        parse_frame(encoded_media(a_recording(**fields)))
