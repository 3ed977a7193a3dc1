"""Pruning methods: scores, masks and surgery, one file a method, behind one registry."""
