"""Applications over the client. They reach a server by `headrace.client` alone."""
