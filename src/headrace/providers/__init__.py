"""The hot path to model APIs, on aiohttp and msgspec."""
