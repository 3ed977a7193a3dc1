"""Prune a large language model, or train a small one from scratch? A token-matched comparison.

Data flows one way through the sub-packages: ``config`` (what the study is), ``study`` (its runs, plans and
files), ``data``, ``models``, ``pruning``, ``training``, ``evaluation``, ``tables``, ``figures``. Beside them,
``planning`` says what a study will cost, and ``cluster`` what its jobs ask a scheduler for.
"""

__version__ = "0.1.0"
