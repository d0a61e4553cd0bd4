"""What each page and mail shows: frames in, one frozen dataclass out, every value already in words."""
