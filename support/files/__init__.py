"""Files and folders of the user's: read within bounds, written whole or not at all, and never an input overwritten by an output."""
