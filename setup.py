"""What pyproject.toml can't say: the repository's root is the package, and each of its folders with an ``__init__.py`` is one within it."""
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class Build(build_py):
    """Without this file, which lies in the root too."""

    def find_package_modules(self, package, folder):
        """(package, module, file) of each file of a package."""
        return [found for found in super().find_package_modules(package, folder) if found[1] != "setup"]


setup(package_dir={"tenfold": "."}, packages=["tenfold", *(f"tenfold.{name}" for name in find_packages())], cmdclass={"build_py": Build})
