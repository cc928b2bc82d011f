"""Pre-training: data folder -> run folder, by a recipe or by a plan for this machine."""
