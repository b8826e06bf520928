"""The database: flows, credentials, variables, API keys, chat messages and all other stored rows."""
