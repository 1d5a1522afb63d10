#!/bin/sh
# In a CI data pipeline: label; a few failed images are told, more than that fail the job.
#   examples/pipeline.sh IMAGES LABELS
set -u
samcli auto-annotate "$1" --output "$2" --det "${DET:-tiny}" --sam "${SAM:-tiny}" \
    --max-failures "${MOST:-10}" --quiet --json >summary.json
status=$?
case $status in
    0) echo "all images labelled" ;;
    3) # finished but for some images, or stopped by --max-failures with images left to do
        echo "some images failed:"
        samcli status "$2" --failures
        grep -q '"remaining": 0' summary.json || exit 3 ;;
    *) echo "samcli could not run (status $status)" && exit "$status" ;;
esac
