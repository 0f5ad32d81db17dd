"""Pictures, as the papers draw them. matplotlib is imported when one is drawn."""
