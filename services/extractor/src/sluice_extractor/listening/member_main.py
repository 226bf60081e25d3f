"""The process of one installed predictor: `python -m sluice_extractor.listening.member_main NAME`.

A line of JSON with the path of a recording comes in, a line with its labels goes out; what the predictor prints goes
to standard error. It ends when its input does, which is when the extractor is gone.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from typing import TextIO

from sluice_extractor.listening.predictor import ENTRY_POINTS, AudioPredictor

_PR_SET_PDEATHSIG = 1


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _die_with_parent()
    questions: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    predictor = _predictor_called(sys.argv[1])
    _tell(answers, {"ready": True})
    while True:
        _tell(answers, _answer_to(questions.get(), predictor))


def _listen(questions: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        questions.put(line)
    os._exit(0)


def _predictor_called(name: str) -> AudioPredictor:
    (entry_point,) = entry_points(group=ENTRY_POINTS, name=name)
    predictor: AudioPredictor = entry_point.load()()
    return predictor


def _answer_to(question: str, predictor: AudioPredictor) -> dict[str, object]:
    try:
        labels = predictor.predict(Path(json.loads(question)["file"]))
        return {"labels": {str(label): float(confidence) for label, confidence in labels.items()}}
    except Exception:  # noqa: BLE001 - somebody else's code: whatever it raises costs this vote only
        traceback.print_exc()
        return {"failed": True}


def _tell(answers: TextIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
