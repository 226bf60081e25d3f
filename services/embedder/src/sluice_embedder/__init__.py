"""Embeds chunks, stores the vectors and publishes finished runs."""
