"""The command `sluice`: upload documents, follow them and search in them from a terminal.

Exit codes: 0 done; 1 something was refused or a document failed; 2 wrong usage; 3 no answer from the
gateway; 4 no key, or one that may not do this; 5 no such document; 130 interrupted.
"""

import argparse
import glob
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sluice_client.client import DEFAULT_URL, SluiceClient
from sluice_client.errors import (
    Forbidden,
    GatewayUnreachable,
    Gone,
    NotFound,
    RequestRefused,
    SluiceError,
    Unauthenticated,
)
from sluice_client.results import Chunk, Document, DocumentError, Hit
from sluice_client.terminal import Terminal, one_line, shortened, standard_terminal
from sluice_client.upload_views import view_for
from sluice_client.uploads import Outcome, upload_all

DONE, REFUSED, USAGE, UNREACHABLE, UNAUTHORISED, MISSING, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
PATIENT_RETRIES, QUICK_RETRIES = 5, 2
SHOWN_CELLS = 320
KEY_FILE = Path(".sluice") / "api-key"


@dataclass(frozen=True)
class Command:
    """What a command works with."""

    options: argparse.Namespace
    client: SluiceClient
    terminal: Terminal


Run = Callable[[Command], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the module's list."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in LOCAL_COMMANDS:
        return run_local(arguments[0], arguments[1:])
    standard_terminal(as_json=False)  # argparse's own words must be printable too
    options = command_line().parse_args(arguments)
    terminal = standard_terminal(as_json=options.json)
    try:
        with client_for(options) as client:
            code: int = options.run(Command(options, client, terminal))
            return code
    except SluiceError as error:
        return tell(error, terminal)
    except BrokenPipeError:  # `sluice list | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        terminal.remark("Interrupted. What was accepted goes on; follow it with: sluice status --all")
        return INTERRUPTED


# Where the gateway and the key are


def client_for(options: argparse.Namespace) -> SluiceClient:
    # Who looks something up wants to hear soon that nobody answers; an upload is worth some patience.
    retries = PATIENT_RETRIES if options.run is upload else QUICK_RETRIES
    return SluiceClient(url_of(options), key_of(options, os.environ), timeout_s=options.timeout, retries=retries)


def url_of(options: argparse.Namespace) -> str:
    return str(options.url or os.environ.get("SLUICE_URL") or DEFAULT_URL)


def key_of(options: argparse.Namespace, environment: Mapping[str, str]) -> str | None:
    """The first of: --api-key, SLUICE_API_KEY, $SLUICE_HOME/api-key, .sluice/api-key here or above."""
    given = options.api_key or environment.get("SLUICE_API_KEY")
    return given or next((key for path in key_files(environment, Path.cwd()) if (key := first_line(path))), None)


def key_files(environment: Mapping[str, str], folder: Path) -> Iterator[Path]:
    if environment.get("SLUICE_HOME"):
        yield Path(environment["SLUICE_HOME"]) / KEY_FILE.name
    for parent in (folder, *folder.parents):
        yield parent / KEY_FILE


def first_line(path: Path) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return lines[0].strip() if lines else None


def tell(error: SluiceError, terminal: Terminal) -> int:
    """Say what went wrong and what to do; the exit code says which kind it was."""
    if terminal.as_json:
        facts = {"code": error.code, "status": error.status, "detail": error.detail, "remedy": error.remedy}
        terminal.give({"error": {**facts, "request_id": error.request_id}})
    else:
        terminal.remark(f"sluice: {one_line(error.detail)} ({error.code})")
        for pointer, detail in error.pointers if isinstance(error, RequestRefused) else ():
            terminal.remark(f"  {one_line(pointer)}: {one_line(detail)}")
        for line in (error.remedy, f"Request: {error.request_id}" if error.request_id else None):
            if line:
                terminal.remark(f"  {one_line(line)}")
    return exit_code_of(error)


def exit_code_of(error: SluiceError) -> int:
    kinds: tuple[tuple[type[SluiceError] | tuple[type[SluiceError], ...], int], ...] = (
        (GatewayUnreachable, UNREACHABLE),
        ((Unauthenticated, Forbidden), UNAUTHORISED),
        ((NotFound, Gone), MISSING),
    )
    return next((code for kind, code in kinds if isinstance(error, kind)), REFUSED)


# Uploading


def upload(command: Command) -> int:
    options, terminal = command.options, command.terminal
    paths, problems = files_of(options.files, recursive=options.recursive)
    with view_for(terminal, wait=options.wait) as view:
        for problem in problems:
            view.ended(problem)
        outcomes = upload_all(command.client, paths, upload_one_of(command), view, wait=options.wait)
    if len(outcomes) + len(problems) > 1 and not terminal.as_json:
        good = sum(outcome.is_good for outcome in outcomes)
        terminal.say(f"{good} of {len(outcomes) + len(problems)} files {'ready' if options.wait else 'accepted'}.")
    return code_of([*problems, *outcomes])


def code_of(outcomes: Sequence[Outcome]) -> int:
    bad = [outcome for outcome in outcomes if not outcome.is_good]
    if bad and all(outcome.code == GatewayUnreachable.code for outcome in bad):
        return UNREACHABLE
    if bad and all(outcome.status in {401, 403} for outcome in bad):
        return UNAUTHORISED
    return REFUSED if bad else DONE


def upload_one_of(command: Command) -> Callable[[Path, Callable[[int, int | None], None]], Document]:
    options = command.options
    chunking = {} if options.chunk_chars is None else {"max_chars": options.chunk_chars}
    chunking |= {} if options.overlap_chars is None else {"overlap_chars": options.overlap_chars}

    def upload_one(path: Path, on_progress: Callable[[int, int | None], None]) -> Document:
        return command.client.upload(
            path,
            collection=options.collection,
            attributes=options.attributes,
            chunking=chunking or None,
            multimodal=options.multimodal or None,
            on_duplicate=options.on_duplicate,
            on_progress=on_progress,
        )

    return upload_one


def files_of(names: Sequence[str], *, recursive: bool) -> tuple[list[Path], list[Outcome]]:
    """The files that *names* stand for, each once, and what is wrong with the other names."""
    paths: dict[Path, None] = {}
    problems: list[Outcome] = []
    for path in (Path(one) for name in names for one in expanded(name)):
        if not path.is_dir():
            paths[path] = None
        elif recursive:
            paths.update(dict.fromkeys(files_below(path)))
        else:
            problems.append(Outcome(path, code="is_folder", detail="This is a folder.", remedy="Use -r to upload it."))
    return list(paths), problems


def expanded(name: str) -> Sequence[str]:
    """The names that match a pattern, which the Windows console leaves to the program."""
    if Path(name).exists():
        return [name]
    return sorted(glob.glob(name)) or [name]  # noqa: PTH207 - Path.glob takes no absolute pattern


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below *folder* in order of name; hidden files and folders are left out."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from files_below(path)
        elif path.is_file():
            yield path


# Looking


def status(command: Command) -> int:
    options, terminal = command.options, command.terminal
    if bool(options.ids) == options.all:
        terminal.remark("sluice: give ids of documents, or --all")
        return USAGE
    if options.all:
        return print_documents(command.client.list(collection=options.collection), terminal)
    return print_documents((command.client.get(one) for one in options.ids), terminal)


def list_documents(command: Command) -> int:
    options = command.options
    found = command.client.list(collection=options.collection, status=options.status, limit=options.limit)
    return print_documents(found, command.terminal)


def print_documents(documents: Iterator[Document], terminal: Terminal) -> int:
    if terminal.as_json:
        for document in documents:
            terminal.give(document)
        return DONE
    shown = list(documents)
    rows = [
        (one.id, one.status, f"{one.progress.percent} %", one.stage or "-", one.name, remark_on(one)) for one in shown
    ]
    if not rows:
        terminal.remark("No documents.")
        return DONE
    terminal.table(("ID", "STATUS", "DONE", "STAGE", "NAME", ""), rows)
    return DONE


def remark_on(document: Document) -> str:
    if document.error:
        return sentence_of(document.error)
    return document.waiting_reason or ("" if document.ended else document.message)


def sentence_of(error: DocumentError) -> str:
    return " ".join(part for part in (f"{error.code}:", error.message, error.remedy or "") if part)


def show(command: Command) -> int:
    document, terminal = command.client.get(command.options.id), command.terminal
    chunks = command.client.chunks(document.id) if command.options.chunks else iter(())
    if terminal.as_json:
        terminal.give(document)
        for chunk in chunks:
            terminal.give(chunk)
        return DONE
    terminal.table(*facts_of(document))
    for chunk in chunks:
        terminal.say(f"\n[{chunk.number}] {place_of(chunk)}".rstrip())
        terminal.say(one_line(chunk.text))
    return DONE


def facts_of(document: Document) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    pages = document.progress.pages
    facts: dict[str, object] = {
        "name": document.name,
        "collection": document.collection,
        "status": f"{document.status}, {document.progress.percent} %",
        "message": document.message,
        "problem": sentence_of(document.error) if document.error else None,
        "warnings": ", ".join(map(str, document.warnings)),
        "type": document.media_type,
        "bytes": document.bytes,
        "sha256": document.sha256,
        "pages": pages.total,
        "chunks": document.total_chunks,
        "model": document.embedding.model if document.embedding else None,
        "attributes": json.dumps(document.attributes, ensure_ascii=False) if document.attributes else None,
        "created": document.created_at,
        "finished": document.finished_at,
    }
    return ("id", document.id), [(name, fact) for name, fact in facts.items() if fact not in (None, "")]


def analysis(command: Command) -> int:
    found, terminal = command.client.analysis(command.options.id), command.terminal
    if terminal.as_json:
        terminal.say(json.dumps(found, ensure_ascii=False))
        return DONE
    measures = {name: fact for name, fact in (found.get("measures") or {}).items() if fact is not None}
    terminal.table(("duration", clock_of(found.get("duration_s") or 0)), list(measures.items()))
    for label in found.get("labels") or ():
        votes = ", ".join(f"{one_line(vote['member'])} {vote['confidence']:.2f}" for vote in label["votes"])
        terminal.say(f"{label['confidence']:.2f}  {one_line(label['label'])}  ({votes})")
    for member in found.get("members") or ():
        if member["reason"]:
            terminal.remark(f"{one_line(member['name'])} was left out: {one_line(member['reason'])}")
    return DONE


def search(command: Command) -> int:
    options, terminal = command.options, command.terminal
    hits = command.client.search(
        " ".join(options.query), collection=options.collection, top_k=options.top_k, mode=options.mode
    )
    for place, hit in enumerate(hits, start=1):
        if terminal.as_json:
            terminal.give(hit)
        else:
            print_hit(place, hit, terminal, is_whole=options.full)
    if not hits and not terminal.as_json:
        terminal.remark("Nothing found.")
    return DONE


def print_hit(place: int, hit: Hit, terminal: Terminal, *, is_whole: bool) -> None:
    where = place_of(hit)
    terminal.say(f"{place}. {one_line(hit.name)}{f', {where}' if where else ''}  (score {hit.score:.3f})")
    text = one_line(hit.text)
    terminal.say(f"   {text if is_whole else shortened(text, SHOWN_CELLS)}")
    terminal.say(f"   {hit.document_id} chunk {hit.chunk}\n")


def place_of(found: Chunk | Hit) -> str:
    """Where the text stands: the finest place that its format has, and its section."""
    return ", ".join(part for part in (spot_of(found), one_line(found.section or "")) if part)


def spot_of(found: Chunk | Hit) -> str:
    if found.slide is not None:
        return f"slide {found.slide}"
    if found.sheet is not None:
        return f"sheet {one_line(found.sheet)}"
    if found.time_start is not None:
        return clock_of(found.time_start)
    if found.page_start is None:
        return ""
    if found.page_end in (None, found.page_start):
        return f"page {found.page_start}"
    return f"pages {found.page_start}-{found.page_end}"


def clock_of(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def download(command: Command) -> int:
    options, terminal = command.options, command.terminal
    if options.output == "-":
        command.client.download(options.id, sys.stdout.buffer)
        return DONE
    # The gateway's name is for display; only its last part may become a path here.
    target = Path(options.output or Path(command.client.get(options.id).name.replace("\\", "/")).name or options.id)
    if target.exists() and not options.force:
        terminal.remark(f"sluice: {one_line(target)} is already there; use --force or another -o")
        return REFUSED
    written = command.client.download(options.id, target)
    if terminal.as_json:
        terminal.give({"id": options.id, "path": str(target), "bytes": written})
    else:
        terminal.say(f"{one_line(target)}  {written} bytes")
    return DONE


def page(command: Command) -> int:
    options, terminal = command.options, command.terminal
    target = Path(options.output or f"{options.id}-{options.page}.png")
    if options.output != "-" and target.exists() and not options.force:
        terminal.remark(f"sluice: {one_line(target)} is already there; use --force or another -o")
        return REFUSED
    image = command.client.page_image(options.id, options.page, dpi=options.dpi)
    if options.output == "-":
        sys.stdout.buffer.write(image)
    elif terminal.as_json:
        target.write_bytes(image)
        terminal.give({"id": options.id, "page": options.page, "path": str(target), "bytes": len(image)})
    else:
        target.write_bytes(image)
        terminal.say(f"{one_line(target)}  {len(image)} bytes")
    return DONE


# Acting


def for_each_id(act: Callable[[Command, str], Document | None], done: str) -> Run:
    """A command that does one thing to each of the ids, and goes on when one is refused."""

    def run(command: Command) -> int:
        worst = DONE
        for document_id in command.options.ids:
            try:
                document = act(command, document_id)
            except SluiceError as error:
                worst = max(worst, tell(error, command.terminal))
                continue
            tell_done(command.terminal, document_id, document.status if document else done)
        return worst

    return run


def tell_done(terminal: Terminal, document_id: str, status_now: str) -> None:
    if terminal.as_json:
        terminal.give({"id": document_id, "status": status_now})
    else:
        terminal.say(f"{document_id}  {status_now}")


def delete_one(command: Command, document_id: str) -> None:
    command.client.delete(document_id)


def cancel_one(command: Command, document_id: str) -> Document:
    return command.client.cancel(document_id)


def retry_one(command: Command, document_id: str) -> Document:
    return command.client.retry(document_id)


def reprocess_one(command: Command, document_id: str) -> Document:
    return command.client.reprocess(document_id, start=command.options.start)


def collections(command: Command) -> int:
    if command.options.create:
        command.client.create_collection(command.options.create)
    found = list(command.client.collections())
    if command.terminal.as_json:
        for one in found:
            command.terminal.give(one)
        return DONE
    rows = [(one.name, json.dumps(one.chunking) if one.chunking else "-", one.created_at or "-") for one in found]
    command.terminal.table(("NAME", "CHUNKING", "CREATED"), rows)
    return DONE


def keys(command: Command) -> int:
    options, terminal = command.options, command.terminal
    if options.delete:
        command.client.delete_key(options.delete)
        tell_done(terminal, options.delete, "deleted")
        return DONE
    if options.create:
        made = command.client.create_key(options.create, scopes=options.scopes.split(","))
        if terminal.as_json:
            terminal.give(made)
        else:
            terminal.say(f"{made.secret}")
            terminal.remark("Keep it now: it is not shown again.")
        return DONE
    return list_keys(command)


def list_keys(command: Command) -> int:
    found = list(command.client.keys())
    if command.terminal.as_json:
        for one in found:
            command.terminal.give(one)
        return DONE
    rows = [(one.id, one.name or "-", ",".join(one.scopes), one.expires_at or "never") for one in found]
    command.terminal.table(("ID", "NAME", "SCOPES", "EXPIRES"), rows)
    return DONE


# The local stack's commands, where it is installed

LOCAL_COMMANDS = {
    "doctor": "say what is missing on this machine to run Sluice",
    "demo": "start the local stack, upload a document and search in it",
}


def run_local(name: str, arguments: Sequence[str]) -> int:
    """Hand over to the local stack, which this package must not need."""
    terminal = standard_terminal(as_json=False)
    try:
        module = importlib.import_module(f"sluice_local.{name}")
    except ModuleNotFoundError as error:
        if error.name not in {"sluice_local", f"sluice_local.{name}"}:
            raise
        terminal.remark(f"sluice {name} needs the local stack: install the package sluice-local.")
        return REFUSED
    return int(module.main(list(arguments)) or DONE)


def run_local_of(name: str, _: Command) -> int:
    return run_local(name, [])


# The command line


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluice",
        description="Upload documents to Sluice, follow them and search in them.",
        epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no answer, 4 key, 5 no such document. "
        "SLUICE_URL and SLUICE_API_KEY say where the gateway is and who you are; "
        "with a local stack its key is found by itself.",
        parents=[common_options()],
    )
    # Defaults reach into the parsers of the commands, unless those have options of their own.
    common = common_options()
    parser.set_defaults(url=None, api_key=None, json=False, timeout=60.0)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_uploading(commands, common)
    add_looking(commands, common)
    add_acting(commands, common)
    add_administration(commands, common)
    return parser


def common_options() -> argparse.ArgumentParser:
    """The options that may stand before and behind the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", help="one JSON object for each line, for scripts")
    common.add_argument("--url", help=f"the gateway's address (SLUICE_URL; default {DEFAULT_URL})")
    common.add_argument("--api-key", help="the key; better in SLUICE_API_KEY, where other users cannot see it")
    common.add_argument("--timeout", type=float, metavar="SECONDS", help="how long one answer may take (60)")
    return common


Commands = Any  # argparse does not name the type of what add_subparsers returns


def add_uploading(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "upload", upload, "upload files, several side by side")
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("-r", "--recursive", action="store_true", help="folders with all files below them")
    parser.add_argument("-w", "--wait", action="store_true", help="until each is ready or failed, with its progress")
    parser.add_argument("-c", "--collection")
    parser.add_argument("--attributes", type=json_object, metavar="JSON", help="such as '{\"year\": 2026}'")
    parser.add_argument("--multimodal", action="store_true", help="also the text in pictures and scans")
    parser.add_argument("--on-duplicate", choices=["return", "replace", "allow", "reject"])
    parser.add_argument("--chunk-chars", type=int, metavar="N", help="most characters of one chunk")
    parser.add_argument("--overlap-chars", type=int, metavar="N", help="how many a chunk shares with the next")


def add_looking(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "status", status, "how far documents are")
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("-c", "--collection")
    parser = add(commands, common, "list", list_documents, "the documents, newest first")
    parser.add_argument("-c", "--collection")
    parser.add_argument("--status", choices=["queued", "processing", "ready", "failed", "cancelled"])
    parser.add_argument("--limit", type=int, metavar="N")
    parser = add(commands, common, "search", search, "the passages that fit best")
    parser.add_argument("query", nargs="+", metavar="QUERY")
    parser.add_argument("-c", "--collection")
    parser.add_argument("-k", "--top-k", type=int, metavar="N")
    parser.add_argument("-m", "--mode", choices=["hybrid", "dense", "lexical"])
    parser.add_argument("--full", action="store_true", help="the whole passages")
    parser = add(commands, common, "show", show, "everything about one document")
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--chunks", action="store_true", help="also its text, chunk by chunk")
    parser = add(commands, common, "analysis", analysis, "what was found out about a recording")
    parser.add_argument("id", metavar="ID")
    parser = add(commands, common, "download", download, "the original")
    parser.add_argument("id", metavar="ID")
    parser.add_argument("-o", "--output", metavar="PATH", help="default: the document's name; - for standard output")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite")
    parser = add(commands, common, "page", page, "how a page of a PDF looks, as a PNG")
    parser.add_argument("id", metavar="ID")
    parser.add_argument("page", metavar="PAGE", type=int, help="from 1")
    parser.add_argument("--dpi", type=int, metavar="N", help="pixels per inch")
    parser.add_argument("-o", "--output", metavar="PATH", help="default: ID-PAGE.png; - for standard output")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite")


def add_acting(commands: Commands, common: argparse.ArgumentParser) -> None:
    acts: tuple[tuple[str, Run, str], ...] = (
        ("delete", for_each_id(delete_one, "deleting"), "delete documents; no search finds them any more"),
        ("cancel", for_each_id(cancel_one, "cancelled"), "stop processing documents"),
        ("retry", for_each_id(retry_one, "queued"), "process failed or cancelled documents again"),
        ("reprocess", for_each_id(reprocess_one, "queued"), "process ended documents again"),
    )
    for name, run, told in acts:
        parser = add(commands, common, name, run, told)
        parser.add_argument("ids", nargs="+", metavar="ID")
    parser.add_argument("--from", dest="start", choices=["extract", "embed"], default="extract")


def add_administration(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = add(commands, common, "collections", collections, "the collections")
    parser.add_argument("--create", metavar="NAME")
    parser = add(commands, common, "keys", keys, "the API keys (scope admin)")
    parser.add_argument("--create", metavar="NAME", help="make one and print it, this once")
    parser.add_argument("--scopes", default="read,write", metavar="SCOPES", help="of read,write,admin")
    parser.add_argument("--delete", metavar="ID", help="revoke one")
    for name, told in LOCAL_COMMANDS.items():
        parser = commands.add_parser(name, help=told, add_help=False)
        parser.set_defaults(run=partial(run_local_of, name))


def add(commands: Commands, common: argparse.ArgumentParser, name: str, run: Run, told: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=told, description=f"{told[0].upper()}{told[1:]}.", parents=[common]
    )
    parser.set_defaults(run=run)
    return parser


def json_object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("is not JSON") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("is not a JSON object")
    return value


if __name__ == "__main__":
    sys.exit(main())
