"""Families of decoder-only models: what they share (parts.py), and a folder for each with its particulars."""
