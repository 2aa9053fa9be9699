"""Recipes: a config file or a stored config in, checked descriptions out.

May import: ml_collections. Nothing below the commands sees a `ConfigDict`.
"""
