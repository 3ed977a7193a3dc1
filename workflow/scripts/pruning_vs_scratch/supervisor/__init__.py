"""Runs Snakemake for a study: one run at a time in a folder, resumable after any end, with errors that say why."""
