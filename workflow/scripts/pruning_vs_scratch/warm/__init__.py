"""A warm interpreter: one process imports torch and transformers, and forks itself for each short step of a study.

Importing them takes four to seven seconds of a core, more than many a step of a small study. Each step is still a
process of its own, of a job of its own: nothing is shared but what is imported. See docs/training.md.
"""
