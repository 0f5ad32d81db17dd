"""The tables of the papers, filled with what was trained here."""
from .krivov import precision_table
from .tables import TABLES, filled

__all__ = ["TABLES", "filled", "precision_table"]
