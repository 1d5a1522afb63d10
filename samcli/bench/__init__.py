"""`samcli bench`: time and memory of models on this machine."""
