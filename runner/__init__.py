"""What is done with networks: compile, load, verify, measure, compare, compress, inspect."""
