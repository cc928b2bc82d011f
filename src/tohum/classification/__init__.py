"""Classification: labelled texts and a model -> the same model with a class head, and a report of how good it is."""
