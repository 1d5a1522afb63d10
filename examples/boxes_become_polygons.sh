#!/bin/sh
# A YOLO detection data set becomes a segmentation data set: classes and rows stay, boxes become polygons.
#   examples/boxes_become_polygons.sh IMAGES BOX_LABELS SEGMENT_LABELS
set -eu
samcli prompt "$1" --prompts "$2" --output "$3" --sam "${SAM:-tiny}" --quiet
