"""What is kept: flows, credentials, variables, API keys and chat messages."""
