"""SLEB: the blocks go one after the other, each time the one without which the loss is lowest."""
