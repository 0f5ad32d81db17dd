"""Loads and runs what was compiled. Imports no compiler."""
