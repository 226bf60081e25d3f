"""Recognises the characters in pictures of text."""
