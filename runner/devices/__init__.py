"""Devices that run what was compiled: this machine, and others over the network."""
