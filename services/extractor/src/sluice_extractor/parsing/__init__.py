"""Readers of documents; they run only inside the sandbox's child."""
