"""What a child says of a recording, checked before anything of it is believed."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sluice_extractor.parsing.media import MOST_STRETCHES, Recording

_MOST_TAGS = 30
_MOST_TEXT = 20_000
_LONGEST_S = 10**7


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("PostgreSQL keeps no such text")
    return text


_Seconds = Annotated[float, Field(ge=0, le=_LONGEST_S, allow_inf_nan=False)]
_Decibels = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
_Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Word = Annotated[str, Field(max_length=50, pattern=r"^[a-z0-9_]+$")]
_TagName = Annotated[str, Field(max_length=50, pattern=r"^[a-z ]+$")]
_TagText = Annotated[str, Field(min_length=1, max_length=_MOST_TEXT), AfterValidator(_without_nul)]
_Stretches = Annotated[list[tuple[_Seconds, _Seconds]], Field(max_length=MOST_STRETCHES)]


class _RecordingFields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    container: _Word
    codec: _Word
    rate: Annotated[int, Field(ge=1, le=10**6)]
    channels: Annotated[int, Field(ge=1, le=1000)]
    duration_s: _Seconds
    has_video: bool
    tags: Annotated[list[tuple[_TagName, _TagText]], Field(max_length=_MOST_TAGS)]
    loudness_lufs: _Decibels | None
    peak_dbfs: _Decibels | None
    clipped_ratio: _Part
    silence_s: _Seconds
    silences: _Stretches
    speech_s: _Seconds | None
    speech_confidence: _Part | None
    speeches: _Stretches

    @model_validator(mode="after")
    def _is_within_itself(self) -> "_RecordingFields":
        stretches = [*self.silences, *self.speeches]
        if any(not start <= end <= self.duration_s + 1 for start, end in stretches):
            raise ValueError("stretches beyond the end")
        if max(self.silence_s, self.speech_s or 0) > self.duration_s + 1:
            raise ValueError("more than all of it")
        return self


def recording_fields(recording: Recording) -> dict[str, object]:
    """As they travel."""
    return asdict(recording)


def recording_of(fields: Any) -> Recording:  # Any: checked here
    """The recording that *fields* tell of.

    Raises:
        ValueError: they are none; an honest child sends no such thing.
    """
    checked = _RecordingFields.model_validate(fields, strict=False)
    values = {name: getattr(checked, name) for name in type(checked).model_fields}
    sequences = {name: tuple(values[name]) for name in ("tags", "silences", "speeches")}
    return Recording(**{**values, **sequences})
