"""OLMo 3: OLMo 2 with windows in three of four blocks."""
