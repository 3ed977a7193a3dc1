"""From a finished run to a folder that others can load: weights, tokenizer and a card. No torch here."""
