"""A small server that answers as the Hugging Face hub does, for data sets and models in a folder."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".zst", ".parquet")


@dataclass
class HubServer:
    """Serves OWNER/NAME/FILE under a folder, each data set or model at one revision."""

    root: Path
    revisions: dict[str, str]
    requests: list[str] = field(default_factory=list)
    """Every request: its method and path."""
    authorizations: set[str] = field(default_factory=set)
    """Every header Authorization that was sent."""
    address: str = ""
    storage: str = ""
    """Address of another server that downloads are sent on to, as the hub does for large files."""
    gated: set[str] = field(default_factory=set)
    """Repositories that are shown to requests with a token only."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """By file, after how many bytes of an answer the connection breaks: one number an answer, then none does."""
    ranges: dict[str, list[int]] = field(default_factory=dict)
    """By file, the first byte that each download of it asked for."""
    corrupted: set[str] = field(default_factory=set)
    """Files whose last byte is another than the listed hash says."""


@contextmanager
def hub_server(root: Path, revisions: dict[str, str]) -> Iterator[HubServer]:
    """The server, on a free port of this machine."""
    hub = HubServer(root, revisions)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def answer(self, body: bytes = b"") -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        if token := self.headers.get("Authorization"):
            self.hub.authorizations.add(token)
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "datasets":
            parts = parts[1:]
        if parts[2:3] == ["resolve"]:
            self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif parts[0] == "api":
            self.api("/".join(parts[2:4]), parts[4:], body)
        else:
            self.refuse("EntryNotFound")

    def api(self, name: str, rest: list[str], body: bytes) -> None:
        kind, revision = rest[0] if rest else "revision", rest[1] if len(rest) > 1 else "main"
        if name not in self.hub.revisions:
            return self.refuse("RepoNotFound", 401)
        if self.is_closed(name):
            return self.refuse("GatedRepo", 401)
        if revision not in ("main", self.hub.revisions[name]):
            return self.refuse("RevisionNotFound")
        if kind == "revision":
            siblings = [self.sibling(name, path) for path in self.files(name)]
            facts = {"_id": "0" * 24, "id": name, "author": name.split("/")[0], "private": False, "tags": []}
            return self.json(facts | {"sha": self.hub.revisions[name], "siblings": siblings})
        if kind == "tree":
            return self.json(self.tree(name, "/".join(rest[2:])))
        wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
        return self.json([entry for entry in self.tree(name, "") if entry["path"] in wanted])

    def is_closed(self, name: str) -> bool:
        return name in self.hub.gated and not self.headers.get("Authorization")

    def sibling(self, name: str, path: str) -> dict[str, Any]:
        """As the hub lists a file: large ones, by their kind here, with their SHA-256, others with git's."""
        content = (self.hub.root / name / path).read_bytes()
        entry: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": _git_digest(content)}
        if path.endswith(LARGE):
            sha256 = hashlib.sha256(content).hexdigest()
            entry |= {"blobId": _digest(b"pointer"), "lfs": {"size": len(content), "sha256": sha256, "pointerSize": 1}}
        return entry

    def tree(self, name: str, under: str) -> list[dict[str, Any]]:
        folder = self.hub.root / name
        found = []
        for path in sorted(folder.rglob("*")):
            relative = str(path.relative_to(folder))
            if under and not relative.startswith(f"{under}/"):
                continue
            if path.is_file():
                entry = self.sibling(name, relative)
                lfs = {"lfs": entry["lfs"] | {"oid": entry["lfs"]["sha256"]}} if "lfs" in entry else {}
                found.append({"type": "file", "path": relative, "size": entry["size"], "oid": entry["blobId"]} | lfs)
            else:
                found.append({"type": "directory", "path": relative, "oid": _digest(relative.encode())})
        return found

    def files(self, name: str) -> list[str]:
        return [entry["path"] for entry in self.tree(name, "") if entry["type"] == "file"]

    def file(self, name: str, revision: str, path: str) -> None:
        file = self.hub.root / name / path
        if revision not in ("main", self.hub.revisions.get(name)):
            return self.refuse("RevisionNotFound")
        if not file.is_file():
            return self.refuse("EntryNotFound")
        if self.is_closed(name):
            return self.refuse("GatedRepo", 401)
        if self.hub.storage:
            return self.send_on(self.hub.storage + self.path)
        content = file.read_bytes()
        if path in self.hub.corrupted:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", self.hub.revisions[name])
        self.send_header("ETag", f'"{_digest(content)}"')
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command != "HEAD":
            self.hub.ranges.setdefault(path, []).append(start)
            cuts = self.hub.cuts.get(path)
            self.wfile.write(content[start : start + cuts.pop(0)] if cuts else content[start:])
            self.close_connection = True
        return None

    def send_on(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def json(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, code: str, status: int = 404) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _git_digest(content: bytes) -> str:
    return _digest(b"blob %d\0" % len(content) + content)


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
