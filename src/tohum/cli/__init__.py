"""The command line: one file per verb, each importing its stage only when it runs."""
