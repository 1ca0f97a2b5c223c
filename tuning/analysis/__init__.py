"""What a study found, read off its record: importance, comparison, advice, charts, the report."""
