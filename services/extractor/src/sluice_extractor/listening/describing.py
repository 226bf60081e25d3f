"""Puts what is known of a recording into the JSON that is stored, and into words that can be searched."""

from collections.abc import Sequence

from sluice_extractor.listening.ensemble import Json, Vote, combined
from sluice_extractor.parsing.media import Recording

_LIKELY = 0.5
_CONTAINERS = {
    "wav": "WAV",
    "mp3": "MP3",
    "flac": "FLAC",
    "ogg": "Ogg",
    "mov": "MPEG-4",
    "matroska": "WebM",
    "aac": "AAC",
}
_CHANNELS = {1: "mono", 2: "stereo"}


def analysis_of(recording: Recording, votes: Sequence[Vote]) -> Json:
    """The analysis as it is stored and answered: the same for the same votes, and bounded in all its parts."""
    return {
        "kind": "audio",
        "duration_s": recording.duration_s,
        "recording": {
            "container": recording.container,
            "codec": recording.codec,
            "sample_rate": recording.rate,
            "channels": recording.channels,
            "has_video": recording.has_video,
            "tags": dict(recording.tags),
        },
        "measures": {
            "loudness_lufs": recording.loudness_lufs,
            "peak_dbfs": recording.peak_dbfs,
            "clipped_ratio": recording.clipped_ratio,
            "silence_s": recording.silence_s,
            "speech_s": recording.speech_s,
        },
        "silences": [list(stretch) for stretch in recording.silences],
        "speeches": [list(stretch) for stretch in recording.speeches],
        "labels": combined(votes),
        "members": [
            {
                "name": vote.name,
                "kind": vote.kind,
                "weight": vote.weight,
                "outcome": "ok" if vote.left_out is None else "left_out",
                "reason": vote.left_out,
            }
            for vote in votes
        ],
    }


def words_on(recording: Recording, analysis: Json) -> str:
    """Tags first, then the measures, a line each."""
    tags = [f"{name.capitalize()}: {text}" for name, text in recording.tags]
    labels = [f"{one['label']} ({one['confidence']:.2f})" for one in analysis["labels"] if one["confidence"] >= _LIKELY]
    lines = [*tags, *_lines_on(recording), *([f"Labels: {', '.join(labels)}"] if labels else [])]
    return "\n".join(lines) + "\n"


def _lines_on(recording: Recording) -> list[str]:
    kind = "video" if recording.has_video else "recording"
    channels = _CHANNELS.get(recording.channels, f"{recording.channels} channels")
    container = _CONTAINERS.get(recording.container, recording.container)
    lines = [f"{container} {kind} ({recording.codec}, {recording.rate} Hz, {channels}), {_clock(recording.duration_s)}"]
    if recording.loudness_lufs is not None:
        lines.append(f"Loudness: {recording.loudness_lufs:.1f} LUFS")
    if recording.speech_s:
        lines.append(f"Speech: {_clock(recording.speech_s)}")
    if recording.silence_s:
        lines.append(f"Silence: {_clock(recording.silence_s)}")
    if recording.clipped_ratio:
        lines.append(f"Clipped: {100 * recording.clipped_ratio:.2f} %")
    return lines


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
