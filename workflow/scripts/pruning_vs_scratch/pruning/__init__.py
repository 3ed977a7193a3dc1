"""The catalogue of pruning methods, and what they share: calibration text, scores, masks, surgery, export."""
