"""Pruning methods in one catalogue, and what they share: calibration text, scores, masks, surgery, export."""
