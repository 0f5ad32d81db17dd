"""From a trained network, data and a budget to a Plan: what data says of the layers, what layers cost, and the choice."""
