"""Shapes as models have them, and ratios to prune them by (hypothesis)."""

from hypothesis import strategies as st

from pruning_vs_scratch.study import ModelShape

RATIOS = st.integers(10, 80).map(lambda percent: percent / 100)


@st.composite
def usual_shapes(draw: st.DrawFn) -> ModelShape:
    """Shapes as models have them: heads of 64 or 128, feed-forward layers two to four times as wide as the stream."""
    heads = draw(st.integers(2, 40))
    kv_heads = draw(st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0]))
    head_dim = draw(st.sampled_from([64, 128]))
    hidden = heads * head_dim
    return ModelShape(
        vocab_size=draw(st.sampled_from([4_096, 32_000, 128_256])),
        layers=draw(st.integers(2, 80)),
        hidden_size=hidden,
        ffn_size=draw(st.integers(2 * hidden // 64, 4 * hidden // 64)) * 64,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        tie_embeddings=draw(st.booleans()),
        rope_theta=1e4,
        norm_eps=1e-5,
        attention_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
    )
