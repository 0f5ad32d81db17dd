"""``python -m tenfold`` is the command ``tenfold``."""
from .cli import main

main()
