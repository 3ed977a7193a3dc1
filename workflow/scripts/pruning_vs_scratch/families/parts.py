"""Names of a decoder's parts, the same in every supported family. No torch here."""

EMBEDDING, FINAL_NORM, OUTPUT = "model.embed_tokens", "model.norm", "lm_head"
"""What surrounds the decoder blocks. A tied output projection has no separate weight."""
BLOCK_PREFIX = "model.layers."
"""Prefix of the names of a block's weights in a checkpoint; its index follows."""
LINEAR_NAMES = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
"""The linear layers of a decoder block, in the order of the forward pass."""
LINEARS_BY_INPUT = (LINEAR_NAMES[:3], LINEAR_NAMES[3:4], LINEAR_NAMES[4:6], LINEAR_NAMES[6:])
"""The same, grouped by the activation that they read: statistics of an input serve all of its readers."""
ATTENTION_OUTPUT, FFN_OUTPUT = LINEAR_NAMES[3], LINEAR_NAMES[6]
"""Those that add to the residual stream; they read the heads' channels, and the neurons."""
QUERY_NORM, KEY_NORM = "self_attn.q_norm", "self_attn.k_norm"
"""Norms of queries and keys, in the families that have them."""
