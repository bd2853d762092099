#!/usr/bin/env bash
# Installs mosquitto where that is allowed, and builds the embedded MQTT broker where it is not.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/setup/setup.sh mosquitto
for candidate in "$(command -v mosquitto || true)" /usr/sbin/mosquitto /usr/local/sbin/mosquitto; do
  [ -n "$candidate" ] && [ -x "$candidate" ] && exit 0
done
echo "setup: no mosquitto here; building the embedded broker"
# Its own target directory: its dependencies are nobody else's.
unset CARGO_TARGET_DIR
exec cargo build --release --manifest-path tests/broker/Cargo.toml
