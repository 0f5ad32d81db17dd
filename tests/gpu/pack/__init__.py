"""Making the box, on a machine with the compiler."""
