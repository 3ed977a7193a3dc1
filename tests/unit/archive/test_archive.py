"""An archive is read whole and unaltered, or not at all; remade files are compared as stated."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import zstandard

from finished_studies import finished
from pruning_vs_scratch.archive.compare import Match, compare
from pruning_vs_scratch.archive.contents import archived_files, small_files
from pruning_vs_scratch.archive.listing import LISTING, METADATA, Listing
from pruning_vs_scratch.archive.pack import pack
from pruning_vs_scratch.archive.redraw import redraw
from pruning_vs_scratch.archive.reference import archive_of, reference_archives, results_of
from pruning_vs_scratch.archive.restyle import Restyle
from pruning_vs_scratch.archive.unpack import unpack
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.figures import ratio
from pruning_vs_scratch.figures.catalogue import FIGURES, StudyFigure, figures_of

FILES = {"results/tiny/results.csv": b"a,b\n1,2\n" * 4000, "config/tiny.yaml": b"study: tiny\n"}
Change = Callable[[dict[str, bytes]], None]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of two files."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    for name, content in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    pack(tmp_path / "tiny.tar.zst", Listing.of("tiny", map(Path, sorted(FILES))), "{}")
    return tmp_path / "tiny.tar.zst"


def changed(archive: Path, change: Change) -> Path:
    """An archive with other members: of each, its content by its name below the archive's folder."""
    with tarfile.open(fileobj=BytesIO(zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read())) as tar:
        members = {member.name.removeprefix("tiny/"): tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(members)
    plain = BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(f"tiny/{name}")
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    archive.write_bytes(zstandard.compress(plain.getvalue()))
    return archive


def relisted(**values: Any) -> Change:
    """A change of the listing."""

    def change(members: dict[str, bytes]) -> None:
        members[LISTING] = json.dumps(json.loads(members[LISTING]) | values).encode()

    return change


def test_files_come_out_as_they_went_in(archive: Path, tmp_path: Path) -> None:
    listing = unpack(archive, tmp_path / "out")
    assert listing.study == "tiny"
    assert {name: (tmp_path / "out" / name).read_bytes() for name in listing.files} == FILES


def test_a_folder_that_it_was_unpacked_to_serves_as_well(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(fileobj=BytesIO(zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read())) as tar:
        tar.extractall(tmp_path)
    assert set(unpack(tmp_path / "tiny", tmp_path / "out").files) == set(FILES)
    (tmp_path / "tiny/config/tiny.yaml").write_text("study: other\n")
    with pytest.raises(UserError, match="altered"):
        unpack(tmp_path / "tiny", tmp_path / "again")


def test_the_same_files_make_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    Path("config/tiny.yaml").touch()
    pack(tmp_path / "again.tar.zst", Listing.of("tiny", map(Path, sorted(FILES))), "{}")
    assert (tmp_path / "again.tar.zst").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(archive: Path, tmp_path: Path, share: float) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="truncated"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda members: members.update({"config/tiny.yaml": b"study: tine\n"}),
            "altered or damaged: config/tiny.yaml",
        ),
        (lambda members: members.pop("config/tiny.yaml"), "1 files are missing, such as config/tiny.yaml"),
        (lambda members: members.update({"config/more.yaml": b""}), "does not list config/more.yaml"),
        (lambda members: members.pop(LISTING), "does not come first"),
        (lambda members: members.update({LISTING: b"{"}), "is not JSON"),
        (relisted(schema_version=3), "of version 3, and this project reads up to 2"),
        (relisted(study=7), "damaged: its archive.json is not valid"),
        (relisted(study="../up"), "outside of its folder"),
        (relisted(files={"../x": {"bytes": 1, "sha256": ""}}), "outside of its folder"),
        (relisted(left_out={"../x.png": {"bytes": 1, "sha256": ""}}), "outside of its folder"),
        (relisted(files={"/etc/x": {"bytes": 1, "sha256": ""}}), "outside of its folder"),
    ],
)
def test_an_altered_archive_is_refused(archive: Path, tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        unpack(changed(archive, change), tmp_path / "out")
    assert not (tmp_path / "x").exists()


def test_a_small_archive_lists_what_it_leaves_out_and_has_a_separate_version(archive: Path, tmp_path: Path) -> None:
    picture = Path("figures/tiny/ratio.png")
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"picture")
    listing = Listing.of("tiny", map(Path, sorted(FILES)), [picture])
    pack(tmp_path / "small.tar.zst", listing, "{}")
    assert unpack(tmp_path / "small.tar.zst", tmp_path / "out") == listing
    assert listing.is_small
    assert listing.left_out[str(picture)].bytes == len(b"picture")
    assert not (tmp_path / "out" / picture).exists()
    # A whole archive is what it was before there were small ones.
    whole = unpack(archive, tmp_path / "whole")
    assert not whole.is_small
    assert json.loads(whole.text).keys() == {"schema_version", "study", "source_hash", "files"}
    assert whole.schema_version == 1


def test_links_are_refused(archive: Path, tmp_path: Path) -> None:
    plain = BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        link = tarfile.TarInfo("tiny/results")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    archive.write_bytes(zstandard.compress(plain.getvalue()))
    with pytest.raises(UserError, match="not a regular file"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="file is truncated"):
        unpack(tmp_path / "file", tmp_path / "out")
    with pytest.raises(UserError, match="archive not found"):
        unpack(tmp_path / "none", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "one", "other", "expected"),
    [
        ("t.csv", "x,y\n1.0,a\n", "x,y\n1.0,a\n", Match.IDENTICAL),
        ("t.csv", "x,y\n1.0,a\n", "x,y\n1.0000000000001,a\n", Match.ROUNDING),
        ("t.csv", "x,y\n1.0,a\n", "x,y\n1.001,a\n", Match.DIFFERENT),
        ("t.csv", "x,y\n1.0,a\n", "x,y\n1.0,b\n", Match.DIFFERENT),
        ("t.csv", "x,y\n1.0,a\n", "x\n1.0\n", Match.DIFFERENT),
        ("t.json", '{"a": [1.0, {"b": null}]}', '{"a": [1.0000000000001, {"b": null}]}', Match.ROUNDING),
        ("t.json", '{"a": [1.0, {"b": null}]}', '{"a": [1.0, {"c": null}]}', Match.DIFFERENT),
        ("t.json", '{"a": "supported"}', '{"a": "contradicted"}', Match.DIFFERENT),
        ("t.yaml", "a: {b: [1, {c: x}]}", "d: 2\na: {e: 3, b: [1, {c: x, f: y}]}", Match.EXTENDED),
        ("t.yaml", "a: {b: 1}", "a: {b: 2, c: 3}", Match.DIFFERENT),
        ("t.yaml", "a: {b: [1]}", "a: {b: [1, 2]}", Match.DIFFERENT),
        ("t.yaml", "a: 1\nb: 2", "a: 1", Match.DIFFERENT),
        ("t.md", "a", "b", Match.DIFFERENT),
        ("t.png", "a", "b", Match.DRAWN_OTHERWISE),
    ],
)
def test_files_are_compared_by_their_content(tmp_path: Path, name: str, one: str, other: str, expected: Match) -> None:
    for folder, text in (("archived", one), ("made", other)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    assert compare(tmp_path / "archived" / name, tmp_path / "made" / name) is expected


def test_tables_of_many_rows_are_compared_too(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("same", 1.0 + 1e-13), ("other", 1.1)):
        pd.DataFrame({"run": ["a"], "loss": [value]}).to_parquet(tmp_path / f"{name}.parquet")
    one, same, other = (tmp_path / f"{name}.parquet" for name in ("one", "same", "other"))
    assert [compare(one, made) for made in (one, same, other)] == [Match.IDENTICAL, Match.ROUNDING, Match.DIFFERENT]


def test_the_second_file_is_the_description(archive: Path) -> None:
    with tarfile.open(fileobj=BytesIO(zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read())) as tar:
        assert tar.getnames()[:2] == [f"tiny/{LISTING}", f"tiny/{METADATA}"]


def test_by_products_and_stale_runs_stay_out_whatever_the_study_is_called(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = finished(smoke | {"study": "logs"})
    with pytest.raises(UserError, match=r"claims\.json is missing; run 'pvs run logs' first"):
        archived_files(study)
    run, results = next(iter(study.runs)), study.paths.results
    kept = {results / "claims.json", study.paths.figures / "ratio.png", study.paths.manifest(run)}
    weights = study.paths.model(run) / "model.safetensors"
    left_out = {
        results / "logs/a.log",
        results / "benchmarks/b.tsv",
        results / ".c.tmp",
        results / "runs/old/manifest.json",
    }
    for file in (*kept, weights, *left_out):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = set(archived_files(study))
    assert kept <= found
    assert not found & {weights, *left_out}
    assert set(archived_files(study, weights=True)) == found | {weights}


def test_a_small_archive_has_the_records_and_neither_code_nor_pictures(
    smoke: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = finished(smoke)
    results, figures, run = study.paths.results, study.paths.figures, next(iter(study.runs))
    pictures = {figures / f"{name}.{kind}" for name in figures_of(study) for kind in ("pdf", "png")}
    kept = {
        Path("config/reported.csv"), Path("Snakefile"), figures / "ratio.csv", results / "claims.json",
        results / "tables/curves.parquet", results / "tables/importance.parquet",
        study.paths.manifest(run), study.paths.scores(run, "flap").with_suffix(".manifest.json"),
        results / "evaluation/a/losses.parquet", study.paths.resources / "tokens/test.manifest.json",
    }  # fmt: skip
    left_out = {
        Path("workflow/scripts/a.py"), Path("config/config.yaml"), results / "report.html", results / "pages/a.html",
        results / "provenance.html",
        study.paths.metrics(run), study.paths.model(run) / "config.json", study.paths.model(run) / "pruning.json",
        study.paths.scores(run, "flap"), figures / "shape_search.csv",
    }  # fmt: skip
    for file in kept | left_out | pictures:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    held, lacking = small_files(study)
    assert set(lacking) == pictures
    assert kept <= set(held)
    assert not (left_out | pictures) & set(held)
    (figures / "ratio.png").unlink()
    with pytest.raises(UserError, match=r"ratio\.png is missing; run 'pvs run smoke' first"):
        small_files(study)


def test_without_archives_it_is_said_which_to_name(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(UserError, match="holds no archive: name one, such as FROM="):
        reference_archives(tmp_path)
    for name in ("mini", "demo"):
        (tmp_path / f"{name}.tar.zst").touch()
    assert [file.name for file in reference_archives(tmp_path)] == ["demo.tar.zst", "mini.tar.zst"]


def test_a_study_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mini, demo = Path("mini"), Path("demo")
    assert (results_of(mini), archive_of(mini)) == (mini, mini)
    reference = Path("figures/reference/mini.tar.zst")
    reference.parent.mkdir(parents=True)
    reference.touch()
    assert results_of(mini) == archive_of(mini) == reference
    Path("results/mini").mkdir(parents=True)
    assert (results_of(mini), archive_of(mini)) == (Path("results/mini"), reference)
    small = Path("results/mini/mini-small.tar.zst")
    small.touch()
    assert archive_of(mini) == small
    assert results_of(Path("results/mini")) == Path("results/mini")
    demo.mkdir()
    assert results_of(demo) == archive_of(demo) == demo


@pytest.mark.parametrize(
    ("goal", "name", "message"),
    [
        ("figures", "none.tar.zst", "archive not found: none.tar.zst; name a file written by make archive"),
        ("figures", "text.tar.zst", "text.tar.zst is not an archive"),
        ("figures", "results", "results is not an archive"),
        ("scales", "text.tar.zst", "text.tar.zst is not an archive"),
        ("scales", "results none", "archive not found: none"),
    ],
)
def test_make_looks_at_the_archive_before_it_installs_anything(
    tmp_path: Path, goal: str, name: str, message: str
) -> None:
    for file in ("Makefile", "requirements.lock"):
        shutil.copy(REPOSITORY / file, tmp_path)
    shutil.copytree(REPOSITORY / "envs", tmp_path / "envs")
    (tmp_path / "text.tar.zst").write_text("no archive")
    (tmp_path / "results/tables").mkdir(parents=True)
    made = subprocess.run(
        ["make", "-j4", goal, f"FROM={name}", "PYTHON=false"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    assert made.returncode == 2
    assert message in made.stderr
    assert "setting up" not in made.stdout
    assert not (tmp_path / ".venv-figures").exists()


@pytest.mark.slow
def test_a_figure_newer_than_an_archive_is_drawn_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pruning_vs_scratch.figures.younger", ratio)
    monkeypatch.setitem(FIGURES, "younger", StudyFigure("younger"))
    listing = unpack(REPOSITORY / "figures/reference/demo.tar.zst", tmp_path / "demo")
    found = redraw(tmp_path / "demo", listing, Restyle(("ratio", "younger")))
    files = {figure: [f"figures/demo/{figure}.{kind}" for kind in ("csv", "pdf", "png")] for figure in FIGURES}
    assert [found[name] for name in files["younger"]] == [Match.NEW] * 3
    assert Match.NEW not in [found[name] for name in files["ratio"]]
    assert all((tmp_path / "demo" / name).exists() for name in files["younger"])
