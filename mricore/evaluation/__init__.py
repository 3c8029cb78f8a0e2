"""Protocols that judge a frozen encoder."""
