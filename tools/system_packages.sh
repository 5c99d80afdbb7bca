#!/usr/bin/env bash
# Install a software OpenGL (EGL, OSMesa) where none is found; says what to do where it cannot.
set -euo pipefail

has() { ldconfig -p 2>/dev/null | grep -q "$1"; }

if has libEGL.so.1 || has libOSMesa.so; then
  exit 0
fi
packages="libegl1 libgl1 libgl1-mesa-dri libosmesa6"
if ! command -v apt-get >/dev/null; then
  echo "No EGL or OSMesa library found: install one (Mesa) with your package manager, then rerun." >&2
  exit 1
fi
echo "installing a software OpenGL: $packages"
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends $packages >/dev/null
