"""Published checkpoints: fetched, checked, and adopted as the parent of a study."""
