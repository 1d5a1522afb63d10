#!/bin/sh
# Encode a folder once; then ask as often as you like, without the image encoder.
#   examples/encode_once.sh IMAGES FOLDER
set -eu
sam="${SAM:-tiny}"
here=$(dirname "$0")
samcli encode "$1" --sam "$sam" --output "$2/embeddings" --quiet
samcli prompt "$1" --sam "$sam" --embeddings "$2/embeddings" --output "$2/masks" \
    --prompts "${PROMPTS:-$here/prompts/shapes.json}" --overlay --quiet
