"""Data in object stores: addresses, requests with retries and time limits, images of buckets and of tar files."""
