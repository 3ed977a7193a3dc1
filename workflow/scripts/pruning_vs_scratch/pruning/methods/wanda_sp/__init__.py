"""Wanda-sp: the key-value groups and neurons go whose weights have the smallest weight times input norm."""
