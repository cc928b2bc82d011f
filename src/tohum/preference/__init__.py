"""Preferences: answers that are better than others -> a model that gives such answers."""
