#!/usr/bin/env bash
# Builds the embedded MQTT broker where mosquitto is not installed (set-up installs it when it may).
set -euo pipefail
cd "$(dirname "$0")/../.."
for candidate in "$(command -v mosquitto || true)" /usr/sbin/mosquitto /usr/local/sbin/mosquitto; do
  [ -n "$candidate" ] && [ -x "$candidate" ] && exit 0
done
echo "setup: no mosquitto here; building the embedded broker"
# Its own target directory: its dependencies are nobody else's.
unset CARGO_TARGET_DIR
exec cargo build --release --manifest-path tests/broker/Cargo.toml
