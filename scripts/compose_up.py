"""Starts docker-compose.yml and ends when a document that was uploaded through nginx has been found: `make up`."""

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON has no narrower type

ROOT = Path(__file__).parents[1]
SECRETS = ROOT / "deploy" / "compose" / "secrets"
KEY = SECRETS / "api-key"
LOCAL_PROFILE = "local-embeddings"
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


def main() -> int:
    """Start everything; returns the exit status."""
    settings = env_file(ROOT / ".env") | dict(os.environ)
    try:
        compose = compose_command()
        run(["sh", str(ROOT / "deploy/compose/make_secrets.sh")])
        run([*compose, *profiles(settings), "up", "--detach", *sys.argv[1:]])
        gateway = Gateway(address(settings), ssl.create_default_context(cafile=str(SECRETS / "tls.crt")))
        wait_until(lambda: gateway.ask("GET", "/readyz")["status"] == "ok", READY_S, "the gateway is not ready")
        gateway = Gateway(gateway.url, gateway.tls, own_key(compose))
        prove(gateway)
    except NotUp as error:
        print(f"not up: {error}", file=sys.stderr)
        return 1
    print(f"Sluice answers at {gateway.url}; the key is in {KEY.relative_to(ROOT)}")
    return 0


def compose_command() -> list[str]:
    """Docker's own compose, or the older program.

    Raises:
        NotUp: there is neither.
    """
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and answers(command):
            return command
    raise NotUp("needs docker compose, or docker-compose 1.29")


def answers(command: list[str]) -> bool:
    return subprocess.run([*command, "version"], check=False, capture_output=True).returncode == 0


def profiles(settings: dict[str, str]) -> list[str]:
    """Whoever names no provider gets the small local one."""
    return [] if settings.get("SLUICE_EMBEDDINGS__BASE_URL") else ["--profile", LOCAL_PROFILE]


def address(settings: dict[str, str]) -> str:
    return f"https://localhost:{settings.get('HTTPS_PORT', '8443')}"


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


def env_file(path: Path) -> dict[str, str]:
    """What compose will read of `.env` too."""
    if not path.is_file():
        return {}
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return {
        name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines if line[:1] != "#")
    }


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
    sys.exit(main())
