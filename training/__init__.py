"""Data sets, the papers' networks and training loops; the only floor besides the torch frontend that imports torch."""
