"""Reads the files named on its standard input with one reader, and says what each cost: `python worker.py READER OUT`.

The text of the n-th file goes to `OUT/n.txt`. A line of JSON for each file; the driver sees by its absence that the
process died. Import time is not counted, the file's own bytes are in the cache of the system.
"""

import json
import os
import resource
import sys
import warnings
from pathlib import Path

from readers import READERS

_CORE = 0


def cpu_s() -> float:
    """Of this process and of programs that it ran."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def main() -> None:
    """Serve until the end of the input."""
    name, out = sys.argv[1], Path(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {_CORE})
    warnings.simplefilter("ignore")
    read = READERS[name].make()
    for line in sys.stdin:
        number, path = line.rstrip("\n").split("\t")
        Path(path).read_bytes()
        started_s = cpu_s()
        error, pages = None, []
        try:
            pages = read(Path(path))
        except Exception as raised:  # noqa: BLE001 - whatever a reader raises is its failure
            error = type(raised).__name__
        spent_s = cpu_s() - started_s
        (out / f"{number}.txt").write_text("\f".join(pages), encoding="utf-8", errors="replace")
        own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        rss_mb = max(own.ru_maxrss, others.ru_maxrss) / 1024
        answer = {"cpu_s": spent_s, "pages": len(pages), "error": error, "rss_mb": rss_mb}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
