"""Evaluations made readable."""
