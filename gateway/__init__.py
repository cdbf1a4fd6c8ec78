"""The way of a change to its viewers: notices out, evaluation, frames in. Also the Django app: ``livegate.gateway``."""
