"""What runs Snakemake for a study: one run at a time in a folder, resumed after any end, with errors that say why."""
