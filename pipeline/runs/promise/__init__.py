"""What a run says of its own answers: how many are right, and which pictures it never saw."""
