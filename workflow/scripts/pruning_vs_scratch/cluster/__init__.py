"""A study on a cluster with SLURM: what its jobs ask for, how a job learns of its end, and what is checked first."""
