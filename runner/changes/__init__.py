"""Two files of results -> what became slower, larger or less accurate."""
