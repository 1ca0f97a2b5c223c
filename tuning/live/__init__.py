"""How a study stands while it runs: kept up event by event, foretold, and drawn with characters."""
