"""Entry points: parse, call one function, exit code."""
