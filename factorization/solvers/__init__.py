"""The algebra that several methods share."""
