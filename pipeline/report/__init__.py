"""What people look at after an experiment: the report of runs, the pages of an audit."""
