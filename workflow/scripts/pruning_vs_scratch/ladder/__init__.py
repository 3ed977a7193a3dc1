"""The ladder: studies with the paper's proportions at every size from the demo to the paper. No torch here."""
