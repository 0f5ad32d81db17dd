"""Lowered functions -> a shared library: memory plan, call list, threads, machine code."""
