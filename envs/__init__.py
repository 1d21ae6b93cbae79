"""Drifting Gymnasium environments."""
