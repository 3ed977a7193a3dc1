"""Wanda-sp: drops the key-value groups and neurons with the smallest weight times input norm."""
