"""Formats that flows carry, read as data: Zod schemas, YAML, OpenAPI and Swagger documents."""
