"""Charts of a study, each a matplotlib figure that nothing else holds on to, and any of them as a part of a page."""
