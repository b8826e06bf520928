"""Headrace under another name: how its pages look, and packages that are thin names over the clients."""
