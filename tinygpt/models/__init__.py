"""Models: one page each, from the configuration to the gradients, and in `model.py` what all pages share."""
