"""A warm interpreter: one process imports torch and transformers, and forks itself for each short step of a study.

Importing them takes four to seven CPU seconds, longer than many steps of a small study. Each step is still a separate
process in a separate job: they share only the imports. See docs/training.md.
"""
