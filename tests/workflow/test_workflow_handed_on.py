"""What a finished study hands on: its archive, and its models."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
import zstandard

from checkouts import (
    checkout,
    command,
    smoke_figures,
)
from program import pvs
from pruning_vs_scratch.cli import REPOSITORY

pytestmark = pytest.mark.workflow


def test_an_archive_makes_everything_again_without_torch(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = finished
    written = pvs(folder, "archive", "smoke")
    assert written.returncode == 0, written.stderr
    archive = folder / "results/smoke/smoke.tar.zst"
    with tarfile.open(fileobj=BytesIO(zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read())) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert not [name for name in members if name.endswith("model.safetensors")]
    assert not [name for name, content in members.items() if str(folder).encode() in content]
    described = {entity["@id"]: entity for entity in json.loads(members["smoke/ro-crate-metadata.json"])["@graph"]}
    assert {f"smoke/{name}" for name in described} >= members.keys() - {"smoke/archive.json"}
    assert len(described["#run-smoke"]["result"]) > 50

    fresh = checkout(tmp_path / "fresh")
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(REPOSITORY / name, fresh)
    redraw = ["make", "figures", f"FROM={archive}", f"PYTHON={sys.executable}"]
    first = command(fresh, redraw)
    assert first.returncode == 0, first.stdout + first.stderr
    start = time.monotonic()
    again = command(fresh, redraw)
    assert time.monotonic() - start < 60
    assert re.findall(r"^  \w+ +\d+ (.*)$", again.stdout, re.MULTILINE) == ["identical"] * 8, again.stdout
    drawn = fresh / "figures/redrawn/smoke"
    assert (drawn / "results/smoke/claims.md").read_bytes() == (folder / "results/smoke/claims.md").read_bytes()
    assert {file.stem for file in (drawn / "figures/smoke").glob("*.png")} == smoke_figures()
    torch = command(fresh, [fresh / ".venv-figures/bin/python", "-c", "import torch"])
    assert "No module named 'torch'" in torch.stderr

    small = pvs(folder, "archive", "smoke", "--small")
    assert small.returncode == 0, small.stderr
    reference = fresh / "figures/reference/smoke.tar.zst"
    reference.parent.mkdir()
    shutil.move(folder / "results/smoke/smoke-small.tar.zst", reference)
    assert reference.stat().st_size < archive.stat().st_size / 3
    again = command(fresh, ["make", "figures"])
    assert re.findall(r"^  \w+ +\d+ (.*)$", again.stdout, re.MULTILINE) == ["identical"] * 8, again.stdout
    assert (drawn / "figures/smoke/ratio.png").read_bytes() == (folder / "figures/smoke/ratio.png").read_bytes()

    (fresh / "look.yaml").write_text("font: serif\n")
    options = ["STYLE=look.yaml", "FIGURE=ratio", "SIZE=talk", "METHODS=wanda"]
    restyled = command(fresh, ["make", "figures", *options])
    assert restyled.returncode == 0, restyled.stdout + restyled.stderr
    assert re.findall(r"^  (\w+) +1 restyled$", restyled.stdout, re.MULTILINE) == ["csv", "pdf", "png"]
    assert {file.name for file in (drawn / "figures/smoke").iterdir()} == {"ratio.csv", "ratio.pdf", "ratio.png"}
    scales = command(fresh, ["make", "scales", "FROM=figures/reference/smoke.tar.zst"])
    assert scales.returncode == 0, scales.stdout + scales.stderr
    assert (fresh / "figures/scales/scales.pdf").exists()
    assert command(fresh, ["make", "clean"]).returncode == 0
    assert [file.name for file in (fresh / "figures").iterdir()] == ["reference"]


LOGITS = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
for folder, out in zip(sys.argv[1::2], sys.argv[2::2]):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = tokenizer("Shall I compare thee to a summer's day?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits, new = model(tokens).logits, model.generate(tokens, max_new_tokens=4)
    torch.save({"tokens": tokens, "logits": logits, "new": new}, out)
"""


@pytest.mark.parametrize(
    "run", ["P16.4k-seed0", "P16.4k-wanda-0.5-2of4-R8.19k-seed0", "P16.4k-minitron_width-0.5-seed0"]
)
def test_an_exported_run_loads_without_a_network_and_gives_the_same_logits(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    import torch

    folder, out = finished[0], tmp_path / "exported"
    exported = pvs(folder, "export", "smoke", "--run", run, "--out", out)
    assert exported.returncode == 0, exported.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    files = tmp_path / "exported.pt", tmp_path / "trained.pt"
    words = [out, files[0], folder / f"results/smoke/runs/{run}/model", files[1]]
    subprocess.run([sys.executable, "-c", LOGITS, *map(str, words)], cwd=tmp_path, check=True)
    found = [torch.load(file, weights_only=True) for file in files]
    for name in ("tokens", "logits", "new"):
        assert torch.equal(found[0][name], found[1][name])
    card = (out / "README.md").read_text()
    assert str(folder) not in card
    results = pd.read_csv(folder / "results/smoke/results.csv").set_index(["run", "dataset", "metric"])
    score = results.loc[(run, "test", "loss")]
    assert f"| test | loss | {score['value']:.4f} | {score['stderr']:.4f} | 16 |" in card
    assert not list(out.glob(".*"))


def test_an_exported_sparse_model_keeps_its_mask(finished: tuple[Path, str], tmp_path: Path) -> None:
    from pruning_vs_scratch.models.tensors import load_tensors
    from pruning_vs_scratch.pruning.masks import read_masks

    out = tmp_path / "exported"
    exported = pvs(finished[0], "export", "smoke", "--out", out, "--run", "S8.19k-wanda-0.5-2of4-seed0")
    assert exported.returncode == 0, exported.stderr
    weights = load_tensors(out / "model.safetensors")
    masks = read_masks(out / "mask.safetensors")
    assert masks
    assert all(weights[name][~mask].count_nonzero() == 0 for name, mask in masks.items())
    assert "2:4 along the inputs" in (out / "README.md").read_text()
