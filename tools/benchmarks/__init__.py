"""What ``python -m tools.bench`` measures: one file per subcommand, and what they share."""
