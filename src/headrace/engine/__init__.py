"""From a flow and an input to an async iterator of events. Knows neither HTTP nor storage."""
