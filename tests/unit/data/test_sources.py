"""The pinned file is fetched through pip's settings, checked before it is opened, and never run."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.corpus import DocumentSet
from pruning_vs_scratch.config.pypi import PypiFile
from pruning_vs_scratch.data.documents import read_archive
from pruning_vs_scratch.data.pip_settings import redacted, settings_from_listing
from pruning_vs_scratch.data.sources import fetch
from pruning_vs_scratch.errors import UserError

FILE = "verses-1.0.tar.gz"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"


class Index:
    """A package index on this computer; ``mode`` says how it answers."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.mode = "html"
        self.requests: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.requests.append(self.path)
                index.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path == "/simple/verses/" and self.mode != "empty":
            self._page(request)
        elif request.path == f"/files/{FILE}" and self.mode != "gone":
            self._file(request)
        else:
            request.send_error(404)

    def _page(self, request: BaseHTTPRequestHandler) -> None:
        if self.mode == "json":
            files = [{"filename": FILE, "url": f"/files/{FILE}", "hashes": {}, "yanked": False}]
            self._send(request, json.dumps({"name": "verses", "files": files}).encode(), JSON_TYPE)
        else:
            self._send(request, f'<a href="/files/{FILE}">{FILE}</a>'.encode(), "text/html")

    def _file(self, request: BaseHTTPRequestHandler) -> None:
        sent = self.content[:100] if self.mode == "truncated" else self.content
        self._send(request, sent, "application/octet-stream", length=len(self.content))

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, body: bytes, kind: str, length: int | None = None) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(length or len(body)))
        request.end_headers()
        request.wfile.write(body)


def sdist(marker: Path) -> bytes:
    """A source distribution whose setup.py would leave a mark."""
    buffer = io.BytesIO()
    files = {
        "verses-1.0/setup.py": f"open({str(marker)!r}, 'w').close()\n",
        "verses-1.0/data/poem.txt": "The sea, the sea.\n",
    }
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "setup-was-run"


@pytest.fixture
def index(marker: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """A running index, named by pip's settings and nothing else."""
    index = Index(sdist(marker))
    thread = threading.Thread(target=index.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    use_pip_settings(monkeypatch, PIP_INDEX_URL=index.url)
    yield index
    index.server.shutdown()
    thread.join()
    index.server.server_close()


def use_pip_settings(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_NO_INDEX", "PIP_CERT", "PIP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def pinned(content: bytes) -> PypiFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return PypiFile(kind="pypi", project="verses", version="1.0", file=FILE, sha256=sha256)


@pytest.mark.parametrize("mode", ["html", "json"])
def test_fetches_the_file_and_runs_nothing_of_it(index: Index, marker: Path, tmp_path: Path, mode: str) -> None:
    index.mode = mode
    out = tmp_path / "downloads" / FILE
    assert fetch(pinned(index.content), out)
    assert out.read_bytes() == index.content
    assert not marker.exists()
    assert [path.name for path in out.parent.iterdir()] == [FILE]


def test_keeps_a_right_file_without_the_network(index: Index, tmp_path: Path) -> None:
    out = tmp_path / FILE
    out.write_bytes(index.content)
    assert not fetch(pinned(index.content), out)
    assert index.requests == []


def test_a_wrong_hash_names_both_and_leaves_nothing(index: Index, tmp_path: Path) -> None:
    out = tmp_path / FILE
    source = pinned(b"something else")
    with pytest.raises(UserError) as caught:
        fetch(source, out)
    assert source.sha256 in str(caught.value)
    assert hashlib.sha256(index.content).hexdigest() in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_that_is_there_already_is_left_alone(index: Index, tmp_path: Path) -> None:
    out = tmp_path / FILE
    out.write_bytes(b"the user's own")
    with pytest.raises(UserError, match="expected sha256"):
        fetch(pinned(index.content), out)
    assert out.read_bytes() == b"the user's own"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["truncated", "gone", "empty"])
def test_a_failed_download_says_what_to_do(index: Index, tmp_path: Path, mode: str) -> None:
    index.mode = mode
    out = tmp_path / FILE
    with pytest.raises(UserError, match="PIP_FIND_LINKS") as caught:
        fetch(pinned(index.content), out)
    assert FILE in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_index_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use_pip_settings(monkeypatch, PIP_INDEX_URL="http://reader:secret@127.0.0.1:9/simple")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9") as caught:
        fetch(pinned(b""), tmp_path / FILE)
    assert "secret" not in str(caught.value) + caplog.text


def test_find_links_folder_without_an_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, marker: Path) -> None:
    content = sdist(marker)
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / FILE).write_bytes(content)
    use_pip_settings(monkeypatch, PIP_NO_INDEX="1", PIP_FIND_LINKS=f"{tmp_path / 'missing'} {folder}")
    assert fetch(pinned(content), tmp_path / FILE)
    assert not marker.exists()


def test_a_wheel_for_another_platform_is_only_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "verses-1.0-cp39-cp39-win_amd64.whl"
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / name).write_bytes(b"PK")
    use_pip_settings(monkeypatch, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))
    assert fetch(pinned(b"PK").model_copy(update={"file": name}), tmp_path / name)


def test_an_index_that_is_a_missing_folder_is_tolerated(
    index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", (tmp_path / "nowhere").as_uri())
    assert fetch(pinned(index.content), tmp_path / FILE)


def test_the_entry_point_writes_file_and_manifest(index: Index, tmp_path: Path, marker: Path) -> None:
    out, manifest = tmp_path / "out" / FILE, tmp_path / "acquire.json"
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/acquire.py"), "--out", str(out)]
    command += ["--source", pinned(index.content).model_dump_json(), "--manifest", str(manifest)]
    subprocess.run(command, check=True, capture_output=True)
    facts = json.loads(manifest.read_text())["facts"]
    assert facts == {"bytes": len(index.content), "downloaded": True}
    assert str(tmp_path) not in manifest.read_text()
    assert not marker.exists()


def test_a_fetched_archive_is_read_without_extraction(index: Index, tmp_path: Path) -> None:
    out = tmp_path / FILE
    fetch(pinned(index.content), out)
    documents = list(read_archive(out, DocumentSet(source="verses", include=["*.txt"])))
    assert [(d.id, d.text) for d in documents] == [("verses-1.0/data/poem.txt", "The sea, the sea.")]
    assert list(tmp_path.iterdir()) == [out]


def test_pip_sections_override_each_other() -> None:
    listing = "\n".join(
        [
            "global.index-url='https://one/simple'",
            "global.extra-index-url='\\nhttps://two/simple\\nhttps://three/simple'",
            "global.trusted-host='one two'",
            "list.format='columns'",
            "download.index-url='https://four/simple'",
            ":env:.timeout='7'",
        ]
    )
    settings = settings_from_listing(listing)
    assert settings.index_urls == ("https://four/simple", "https://two/simple", "https://three/simple")
    assert settings.trusted_hosts == ("one", "two")
    assert settings.timeout_seconds == 7


def test_pip_settings_default_to_the_public_index() -> None:
    assert len(settings_from_listing("").index_urls) == 1


def test_pip_settings_that_leave_no_place_are_refused() -> None:
    with pytest.raises(UserError, match="PIP_FIND_LINKS"):
        settings_from_listing("global.no-index='true'")


def test_redacted_addresses() -> None:
    assert redacted("https://me:secret@host:8080/simple?token=1") == "https://host:8080/simple"
    assert redacted("/opt/folder") == "/opt/folder"
    assert "secret" not in redacted("https://me:secret@host:port/simple")
