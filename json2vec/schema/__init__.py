"""What a record looks like: nodes, the schema tree, queries, selectors and editing. No torch here."""
