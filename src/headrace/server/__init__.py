"""The HTTP server: one file per resource, on Litestar and granian."""
