"""Predictions in the protocols of other systems: each is made of the events of a run, one after the other."""
