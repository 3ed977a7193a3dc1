"""One file a method: scores, masks and choices, each from its paper. Sheared-LLaMA, which trains, has four."""
