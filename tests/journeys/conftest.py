"""Real servers for the journeys, one set for each file of tests."""

from site_client import environment, prepared, redis_url, site

__all__ = ["environment", "prepared", "redis_url", "site"]
