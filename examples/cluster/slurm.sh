#!/usr/bin/env bash
#SBATCH --job-name=samcli
#SBATCH --array=1-8
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
# Usage: sbatch examples/cluster/slurm.sh DATA [OPTIONS OF samcli auto-annotate]
# One array task per shard; the data lie on a file system that all nodes share.
set -euo pipefail
exec samcli auto-annotate "$@" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --quiet
