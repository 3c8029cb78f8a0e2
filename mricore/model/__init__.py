"""Encoders, heads, the networks of both methods, and strict weight files."""
