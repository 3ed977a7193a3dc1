"""The typed configuration of a study: one model per section, checked as a whole before any job exists (load.py)."""
