"""Fully connected layers of one image."""
