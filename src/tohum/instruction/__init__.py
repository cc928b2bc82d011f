"""Instructions: files of questions and answers -> a model that follows instructions."""
