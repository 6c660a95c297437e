"""Tern's Python side: handler scripts around a model.

`tern.worker` runs them for the server; `tern.testing` runs them without one.
"""
