"""What a person sees: progress, summaries, tables. Results go to stdout, progress to stderr."""
