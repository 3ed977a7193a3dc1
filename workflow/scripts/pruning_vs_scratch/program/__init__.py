"""The program ``pvs``: one verb per module, which parses and calls. No torch here."""
