"""Sheared-LLaMA: what learned masks close goes.

hard_concrete.py has the distribution of a mask, shape_masks.py the masks of a model and their constraints,
masked_model.py a model that runs with them, method.py the training.
"""
