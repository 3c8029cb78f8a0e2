"""Frozen settings: schema, recipes, and the one override language."""
