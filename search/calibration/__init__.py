"""What images say of a network: moments of its layers' inputs, corrections, accuracy."""
