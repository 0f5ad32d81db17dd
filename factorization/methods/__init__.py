"""The methods of factorization, one a file."""
