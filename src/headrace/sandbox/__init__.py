"""JavaScript that flows carry, run in child processes that can do nothing but compute and ask their parent."""
