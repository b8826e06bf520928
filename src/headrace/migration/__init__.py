"""Moves a whole install of Flowise into a data folder. Reads the old one only."""
