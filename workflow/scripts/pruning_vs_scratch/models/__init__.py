"""Models: building, loading and saving plain Hugging Face checkpoints."""
