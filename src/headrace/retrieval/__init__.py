"""Retrieval: from files and pages to the passages that an answer rests on."""
