"""Stage three: thaw the top blocks of the network and train end to end."""
