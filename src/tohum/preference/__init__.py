"""Preferences: pairs of answers, one better -> a model that prefers it: DPO, ORPO, SimPO, KTO."""
