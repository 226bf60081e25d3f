"""Reads documents, cuts them into chunks and forwards them in batches."""
