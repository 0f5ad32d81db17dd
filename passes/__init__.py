"""Rewrites of a network as a graph, one in a file, and the pipeline that runs them."""
