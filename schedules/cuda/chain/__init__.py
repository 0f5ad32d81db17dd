"""Convolutions that follow each other in one kernel: what lies between them stays in shared memory."""
