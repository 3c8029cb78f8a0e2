"""Whole jobs: each joins the layers below into one function that an entry point calls."""
