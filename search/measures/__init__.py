"""What a budget of loss is measured in: accuracy, a metric of the user's, or how far a network's outputs are from the dense one's."""
