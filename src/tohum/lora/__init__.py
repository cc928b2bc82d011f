"""LoRA: a frozen network -> the same network with small trained matrices beside its own (arXiv:2106.09685)."""
