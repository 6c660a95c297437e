"""Hides installed packages from `import`, as if they were not there: hidden.hide("tensorflow")."""
import importlib.machinery
import sys


def hide(*roots):
    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.split(".")[0] in roots:
                return None
            return importlib.machinery.PathFinder.find_spec(name, path, target)

        @staticmethod
        def find_distributions(*arguments):
            return importlib.machinery.PathFinder.find_distributions(*arguments)

    assert not [name for name in sys.modules if name.split(".")[0] in roots]
    sys.meta_path[:] = [Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
