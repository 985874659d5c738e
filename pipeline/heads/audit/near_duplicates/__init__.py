"""Pictures that are there more than once, changed: smaller, cropped, brighter, mirrored."""
