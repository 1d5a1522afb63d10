"""`samcli bench`: how fast models are here, against others, as work grows, against the project's targets."""
