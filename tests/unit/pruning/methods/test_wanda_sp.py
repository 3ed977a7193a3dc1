"""Wanda-sp sums Wanda's scores over groups and neurons, and scores each block behind the pruned ones before it."""

import pytest
import torch

from models import SHAPE, Case, random_windows, recorded_inputs, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
GROUP = SHAPE.heads // SHAPE.kv_heads


def channel_scores(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """mean_i |W_ij| * sqrt(sum of x_j^2 / windows), in double precision."""
    return weight.double().abs().mean(dim=0) * (inputs.double().square().sum(dim=(0, 1)) / len(inputs)).sqrt()


def test_scores_are_those_of_whole_models_with_the_earlier_blocks_pruned() -> None:
    pruned = Case("wanda_sp").prune(tiny_model())
    kept = pruned.kept
    assert kept.heads is not None and kept.ffn is not None
    model = tiny_model()
    with torch.no_grad():
        for i, block in enumerate(model.model.layers):
            layers = {"groups": block.self_attn.o_proj, "neurons": block.mlp.down_proj}
            with recorded_inputs(layers) as seen:
                model(input_ids=random_windows()[:, :-1], use_cache=False)
            channels = channel_scores(seen["groups"], layers["groups"].weight)
            groups = channels.view(SHAPE.kv_heads, GROUP, SHAPE.head_dim).sum(dim=2).mean(dim=1)
            neurons = channel_scores(seen["neurons"], layers["neurons"].weight)
            # fp32 passes against a block-wise one.
            torch.testing.assert_close(pruned.scores["groups"][i], groups, rtol=1e-5, atol=0)
            torch.testing.assert_close(pruned.scores["neurons"][i], neurons, rtol=1e-5, atol=0)
            best = int(groups.argmax())
            assert kept.heads[i].tolist() == list(range(best * GROUP, (best + 1) * GROUP))
            assert kept.ffn[i].tolist() == neurons.topk(31).indices.sort().values.tolist()
            gone = torch.ones(SHAPE.heads * SHAPE.head_dim, dtype=torch.bool)
            gone[best * GROUP * SHAPE.head_dim : (best + 1) * GROUP * SHAPE.head_dim] = False
            block.self_attn.o_proj.weight[:, gone] = 0
            block.mlp.down_proj.weight[:, sorted(set(range(SHAPE.ffn_size)) - set(kept.ffn[i].tolist()))] = 0


def test_it_adds_no_bias() -> None:
    pruned = Case("wanda_sp").prune(tiny_model())
    assert not [name for name in pruned.weights if name.endswith("bias")]
    assert (pruned.shape.kv_heads, pruned.shape.ffn_size) == (1, 31)
