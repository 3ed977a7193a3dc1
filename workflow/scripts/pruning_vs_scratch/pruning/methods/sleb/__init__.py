"""SLEB: drops blocks one at a time, always the one without which the loss is lowest."""
