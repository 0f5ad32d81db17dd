"""Convolutions of few terms, added up where they lie: depthwise ones, and groups that fill no tile of a product of matrices."""
