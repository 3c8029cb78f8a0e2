"""Labelled volumes: what a protocol is judged on, how they are read, and how patients are split."""
