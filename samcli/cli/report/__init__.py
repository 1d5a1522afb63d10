"""Show progress, summaries and tables: results on stdout, progress on stderr. Results go to stdout, progress to
stderr.
"""
