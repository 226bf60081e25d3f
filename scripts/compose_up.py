"""Starts docker-compose.yml and ends when a document that was uploaded through nginx has been found: `make up`."""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any  # JSON has no narrower type

from check_engine import PORT, ROOT, SECRETS, compose_command, env_file

KEY = SECRETS / "api-key"
LOCAL_PROFILE = "local-embeddings"
GIVEN_ONCE = ("SLUICE_EMBEDDINGS__API_KEY", "SLUICE_TRANSCRIPTION__API_KEY", "SLUICE_AUDIO__ENDPOINTS")
READY_S = 300
FOUND_S = 120
TEXT = b"The lighthouse keeper counts the ships that pass at night."


class NotUp(Exception):
    """The stack does not do what it should; the message says what."""


@dataclass(frozen=True)
class Gateway:
    """The gateway as clients see it, behind nginx."""

    url: str
    tls: ssl.SSLContext
    key: str = ""

    def ask(self, method: str, path: str, body: bytes | None = None, media_type: str = "application/json") -> Any:
        """The parsed answer.

        Raises:
            OSError: no answer, or a refusal.
        """
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": media_type, "Prefer": "wait=25"}
        request = urllib.request.Request(self.url + path, body, headers, method=method)  # noqa: S310 - our own address
        with urllib.request.urlopen(request, timeout=40, context=self.tls) as answer:  # noqa: S310 - as above
            return json.loads(answer.read() or b"null")


def main(arguments: Sequence[str]) -> int:
    """Start everything, with *arguments* for compose's `up`; returns the exit status."""
    settings = env_file(ROOT / ".env") | dict(os.environ)
    # Without this, links in answers would name the usual port.
    os.environ["SLUICE_HTTP__PUBLIC_URL"] = settings.get("SLUICE_HTTP__PUBLIC_URL") or address(settings)
    # Secrets become files, wherever they were given.
    os.environ.update({name: settings[name] for name in GIVEN_ONCE if settings.get(name)})
    compose = compose_command() or ["docker", "compose"]
    try:
        gateway = start(compose, settings, arguments)
        prove(gateway)
    except (NotUp, OSError) as error:
        print(f"not up: {error}", file=sys.stderr)
        print(f"What the services say: {' '.join(compose)} logs --tail 50", file=sys.stderr)
        return 1
    print(f"Sluice answers at {gateway.url}; the key is in {KEY.relative_to(ROOT)}")
    return 0


def start(compose: list[str], settings: dict[str, str], arguments: Sequence[str]) -> Gateway:
    """Start all containers and wait until the gateway is ready; returns it with a key that it takes.

    Raises:
        NotUp: a command failed, or the gateway was not ready in time.
    """
    run(["sh", str(ROOT / "deploy/compose/make_secrets.sh")])
    run([*compose, *profiles(settings), "up", "--detach", *arguments])
    stranger = Gateway(address(settings), trust_of(SECRETS / "tls.crt"))
    print("waiting until the gateway is ready", flush=True)
    wait_until(lambda: stranger.ask("GET", "/readyz")["status"] == "ok", READY_S, "the gateway is not ready")
    gateway = Gateway(stranger.url, stranger.tls, own_key(compose))
    if not takes_the_key(gateway):
        KEY.unlink()  # it is of tables that are gone: somebody removed the volumes
        gateway = Gateway(stranger.url, stranger.tls, own_key(compose))
    return gateway


def trust_of(certificate: Path) -> ssl.SSLContext:
    """Trusts whoever has the key of the certificate that nginx was given, whatever name stands in it."""
    trust = ssl.create_default_context(cafile=str(certificate))
    trust.check_hostname = False
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return trust


def takes_the_key(gateway: Gateway) -> bool:
    try:
        gateway.ask("GET", "/v1/documents?limit=1")
    except urllib.error.HTTPError as error:
        return error.code != HTTPStatus.UNAUTHORIZED
    return True


def profiles(settings: dict[str, str]) -> list[str]:
    """Those that are asked for, and the small local provider for whoever names none."""
    # The older compose forgets the variable as soon as there is a flag.
    names = [name for name in settings.get("COMPOSE_PROFILES", "").split(",") if name]
    if not settings.get("SLUICE_EMBEDDINGS__BASE_URL"):
        names.append(LOCAL_PROFILE)
    return [word for name in names for word in ("--profile", name)]


def address(settings: dict[str, str]) -> str:
    return f"https://localhost:{settings.get('HTTPS_PORT', PORT)}"


def own_key(compose: list[str]) -> str:
    """The key of the first start, made once and kept in a private file."""
    if not KEY.exists():
        create = ["python", "-P", "-m", "sluice_api.admin", "create-key"]
        made = run([*compose, "exec", "-T", "api", *create, "--name", "first", "--scopes", "read,write,admin"])
        KEY.touch(mode=0o600)
        KEY.write_text(made.strip() + "\n", encoding="utf-8")
    return KEY.read_text(encoding="utf-8").strip()


def prove(gateway: Gateway) -> None:
    """Upload a document, find it, and delete it again.

    Raises:
        NotUp: it was not ready or not found in time.
    """
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="make-up.txt"\r\n\r\n'.encode()
    text = TEXT + f" {boundary}".encode()  # never the same bytes twice, or nothing would be embedded
    body = head + text + f"\r\n--{boundary}--\r\n".encode()
    document = gateway.ask("POST", "/v1/documents", body, f"multipart/form-data; boundary={boundary}")
    path = f"/v1/documents/{document['id']}"
    wait_until(lambda: gateway.ask("GET", path)["status"] == "ready", FOUND_S, "the first document is not ready")
    question = json.dumps({"query": f"ships at night {boundary}"}).encode()
    found = gateway.ask("POST", "/v1/search", question)["results"]
    gateway.ask("DELETE", path)
    if document["id"] not in {hit["document_id"] for hit in found}:
        raise NotUp("the first document was not found")


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask once a second until it is so.

    Raises:
        NotUp: it was not in time; with the last reason.
    """
    deadline = time.monotonic() + seconds
    reason = ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (OSError, ValueError) as error:
            reason = f": {error}"
        time.sleep(1)
    raise NotUp(what + reason)


def run(command: list[str]) -> str:
    """What the command printed.

    Raises:
        NotUp: it failed; what it said stands above.
    """
    done = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise NotUp(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
