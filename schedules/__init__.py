"""Schedules: what a backend is, the backends, one a folder, and the driver that applies their rules to a module."""
