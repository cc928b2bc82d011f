"""Fuzzing: valid files, damaged in every way hypothesis thinks of -> each reader refuses in our words or reads.

    python -m tests.fuzz [--seconds 600] [--runs 100000] [PARSER …]

Forbidden to a reader: an exception that is not ours, more than two seconds, more than 1 GB of memory.
"""
