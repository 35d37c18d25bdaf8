"""Layers on the way to another, which the lessons ask for before it, each with its cases and its usual mistakes.

A file as in `layers/`, and in it the definition too: DEFINITION, a class with forward and backward.
"""
