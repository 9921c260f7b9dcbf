"""Synthetic breast DCE-MRI, and the whole job on it."""
