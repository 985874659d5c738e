"""What an export can be: a module and a line in the registry for each."""
