"""Answers over HTTP: a run's model behind a small web service with limits on all that comes in."""
