"""A study on a cluster with SLURM: what its jobs request, how a job learns of its end, and what is checked first."""
