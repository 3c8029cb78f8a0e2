"""The SAM-style encoder, its heads, and strict weight files."""
