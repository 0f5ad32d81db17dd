"""Convolutions that follow each other as one kernel."""
