"""What this machine can do for Tenfold, and what it lacks for more."""
