#!/usr/bin/env bash
# Takes docs/pictures/camera-page-*.jpg of the real page with a real Chromium, and checks the page on the way.
set -euo pipefail
cd "$(dirname "$0")/../.."

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
  echo "no Chromium: apt-get install chromium" >&2
  exit 1
}
program="${CARGO_TARGET_DIR:-target}/release/millwright-benches"
log=$(mktemp)
"$program" --page 127.0.0.1:0 >"$log" &
server=$!
trap 'kill "$server"; rm -f "$log"' EXIT
for _ in $(seq 100); do
  url=$(sed -n 's/^camera page at //p' "$log")
  [ -n "$url" ] && break
  sleep 0.1
done
mkdir -p docs/pictures
target/venv/bin/python tests/setup/page_pictures.py "$chromium" "$url" "$server" docs/pictures
