"""From values to text in a format: LaTeX, Markdown, the README; decides nothing and reads no archive."""
