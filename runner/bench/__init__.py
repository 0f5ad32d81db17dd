"""Networks and engines side by side: time, memory, accuracy."""
