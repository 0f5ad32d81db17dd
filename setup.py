"""What pyproject.toml can't say: the repository's root is the package, and each of its folders with an ``__init__.py`` is one within it."""
from setuptools import find_packages, setup

setup(package_dir={"tenfold": "."}, packages=["tenfold", *(f"tenfold.{name}" for name in find_packages())])
