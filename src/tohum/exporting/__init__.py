"""Exporting: a model folder -> a folder or file for other programs, read back by them and certified."""
