"""A small multi-tenant application: organizations, their boards, and cards that not everybody may read."""
