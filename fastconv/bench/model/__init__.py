"""Whole models against other frameworks, every contestant in a process of its own."""
