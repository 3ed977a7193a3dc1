"""Random masks: what every choice is measured against."""
