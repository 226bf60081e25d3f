"""Figures in words: what a model that sees says of them."""
