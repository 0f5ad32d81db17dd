"""Fine-tuning of the network that a plan makes, and searches that count on it: Denton et al. (2014), sections 3.5 and 4.2."""
