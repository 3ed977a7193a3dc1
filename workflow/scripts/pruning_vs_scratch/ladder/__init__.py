"""The ladder: studies of the paper's proportions at every size between the demo and the paper. No torch here."""
