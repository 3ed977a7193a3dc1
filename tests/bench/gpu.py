"""make gpu-proof: the GPU path measured on one GPU in ten minutes, with a line of JSON per case.

What is measured: bf16 products and attention kernels; tokens/s, MFU and memory of training at a length of 8,192, eager,
compiled, with recomputed blocks, in the arithmetic of several processes (FSDP2 without traffic), with a fused loss, in
float8 and sparse; states saved at once and beside the training; perplexity; pruning methods on blocks of 8B's width,
stored in bf16 and in fp32; a small study by the commands. A case that fails or finds no time says so and the next one
runs. --tiny is a check of this file on CPUs.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from gpu_cases import (
    attention,
    environment,
    perplexity,
    pruning,
    states,
    stored,
    study,
    training,
    training_as_of_several,
    two_of_four,
)
from gpu_proof import Proof, Result
from torch.nn.attention import SDPBackend

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--stages", nargs="+", metavar="STAGE", help="only these")
parser.add_argument("--seconds", type=float, default=570, help="time for all (default: 570)")
parser.add_argument("--out", type=Path, default=Path("gpu-proof.jsonl"), help="file that lines are added to")
parser.add_argument("--tiny", action="store_true", help="tiny models, on CPUs too")


def all_cases(proof: Proof) -> None:
    """The cases in the order of what is asked most."""
    proof.case("environment", "", lambda: environment(proof))
    half, full = torch.bfloat16, torch.float32
    kernels = [(half, None, True), (full, None, True), (full, None, False)]
    if proof.device.type == "cuda":
        kernels += [(half, SDPBackend.FLASH_ATTENTION, True), (half, SDPBackend.CUDNN_ATTENTION, True)]
    for dtype, backend, grouped in kernels:
        name = f"{dtype}, {backend.name if backend else 'default'}, {'grouped' if grouped else 'repeated'} heads"
        for backward in (False, True)[: 1 + (dtype == half)]:
            proof.case(
                "attention", name + ", backward too" * backward,
                lambda d=dtype, b=backend, g=grouped, w=backward: attention(proof, d, b, g, w),
            )  # fmt: skip
    variants: dict[str, Result] = {
        "all blocks run again": {},
        "each second block run again": {"activation_checkpointing": 2},
        "no block run again": {"activation_checkpointing": False},
        "auto, one sequence at a time": {"activation_checkpointing": "auto", "micro_batch_size": 1},
        "auto, logits of 8192 tokens": {"activation_checkpointing": "auto", "loss_chunk_tokens": 8192},
        "auto, fused loss": {"activation_checkpointing": "auto", "fused_loss": True},
    }
    for compiled in proof.sizes.compiled:
        how = "compiled" if compiled else "eager"
        for name, changes in variants.items():
            proof.case(
                "training", f"1.24B {how}, {name}",
                lambda c=compiled, v=changes: training(proof, "1.24B", compile=c, **v),
            )  # fmt: skip
        for model in ("1.49B", "2.80B"):
            proof.case(
                "training", f"{model} {how}, auto",
                lambda c=compiled, m=model: training(proof, m, compile=c, activation_checkpointing="auto"),
            )  # fmt: skip
        proof.case(
            "sharded", f"2.80B {how}, auto",
            lambda c=compiled: training_as_of_several(proof, "2.80B", compile=c, activation_checkpointing="auto"),
        )  # fmt: skip
    last = proof.sizes.compiled[-1]
    proof.case(
        "float8", "1.24B", lambda: training(proof, "1.24B", compile=last, activation_checkpointing="auto", float8=True)
    )
    masks = two_of_four(proof.sizes.models["1.24B"])
    proof.case("sparse", "1.24B, 2:4", lambda: training(proof, "1.24B", masks, compile=last))
    for beside in (False, True):
        proof.case("states", "1.24B, " + ("beside" if beside else "at once"), lambda b=beside: states(proof, b))
    proof.case("perplexity", "2.80B bf16", lambda: perplexity(proof))
    proof.case("study", "by the commands", lambda: study(proof))
    shape = f"layers={proof.sizes.models['2.80B'].layers // 2}"
    methods = {
        "wanda": ("--ratio", "0.5"), "sparsegpt": ("--pattern", "2:4"), "minitron_depth": ("--shape", shape),
        "minitron_width": ("--ratio", "0.5"), "flap": ("--ratio", "0.5"), "shortgpt": ("--shape", shape),
    }  # fmt: skip
    for dtype, precisions in ((half, ("auto",)), (full, ("auto", "fp32"))):
        name = str(dtype).removeprefix("torch.")
        proof.case("pruning", f"writing the parent in {name}", lambda d=dtype: stored(proof, d))
        for precision in precisions:
            for method, goal in methods.items() if dtype == half else [("wanda", methods["wanda"])]:
                proof.case(
                    "pruning", f"{method}, stored in {name}, precision {precision}",
                    lambda m=method, g=goal, p=precision: pruning(proof, m, *g, "--precision", p),
                )  # fmt: skip


if __name__ == "__main__":
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        all_cases(Proof(arguments, Path(temporary)))
