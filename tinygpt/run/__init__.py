"""A run: its settings, its state, its loop, its files, and what it shows."""
