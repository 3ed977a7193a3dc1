"""Wanda: drops the weights of each row with the smallest weight times input norm."""
