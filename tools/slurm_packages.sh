#!/usr/bin/env bash
# Install Slurm with accounting for its tests; ends with status 3 where that is not possible.
set -euo pipefail

found=1
for program in munged slurmctld slurmd slurmdbd mariadbd sbatch; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || found=0
done
[ "$found" = 0 ] || exit 0
packages="slurm-wlm slurmdbd mariadb-server"
if ! command -v apt-get >/dev/null; then
  echo "No Slurm found, and no apt-get to install it: $packages of Debian or Ubuntu." >&2
  exit 3
fi
echo "installing $packages"
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq || exit 3
$sudo apt-get install -y -qq --no-install-recommends $packages >/dev/null || exit 3
