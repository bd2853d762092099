#!/usr/bin/env bash
# Builds edge-agent for ARM64, tells its size, and runs one inference with it under emulation, with the ARM64
# ONNX Runtime: so that nothing gets in that cannot go to the device. Needs root once, to install what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
build=${CARGO_TARGET_DIR:-target}/cross
work=$(mktemp -d)
agent_pid=
trap '[ -z "$agent_pid" ] || { kill -9 "$agent_pid"; wait "$agent_pid"; } 2>/dev/null || true; rm -rf "$work"' EXIT

say() { printf 'cross: %s\n' "$*"; }
fail() { printf 'cross: %s\n' "$*" >&2; exit 1; }

# Lists a suite of the mirror this machine already uses; a pristine Debian 12 knows only the main one.
add_suite() { # name, path below the mirror
  local file=/etc/apt/sources.list.d/millwright-$1.list mirror
  grep -rqsE "(^deb .* |^Suites:.*)bookworm-$1" /etc/apt/sources.list /etc/apt/sources.list.d && return
  mirror=$(grep -rhsoE 'https?://[^ ]*/debian/? ' /etc/apt/sources.list /etc/apt/sources.list.d | head -n 1 || true)
  [ -n "$mirror" ] || mirror=$(grep -rhsE '^URIs: .*/debian/?$' /etc/apt/sources.list.d | head -n 1 | cut -d' ' -f2)
  [ -n "$mirror" ] || fail "no Debian mirror in /etc/apt to derive bookworm-$1 from"
  mirror=${mirror%% }; mirror=${mirror%/}
  echo "deb ${mirror%/debian}/$2 bookworm-$1 main" >"$file"
}

install() { # the command that must exist afterwards, then apt-get's arguments
  command -v "$1" >/dev/null && return
  [ "$(id -u)" = 0 ] || fail "$1 is missing; as root: apt-get install ${*:2}"
  say "installing ${*:2}"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${@:2}" >"$work/apt.log" 2>&1 ||
    { tail -n 20 "$work/apt.log" >&2; fail "apt-get install ${*:2} failed"; }
}

# 1. A cross linker, the device's C and C++ libraries, a user-mode emulator that ONNX Runtime survives (10 or newer).
if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! dpkg -s libc6:arm64 libstdc++6:arm64 >/dev/null 2>&1 ||
   ! command -v qemu-aarch64-static >/dev/null; then
  [ "$(id -u)" = 0 ] || fail "the ARM64 toolchain is missing; run make cross once as root"
  add_suite backports debian
  add_suite security debian-security
  dpkg --add-architecture arm64
  apt-get update -qq
  install aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libc6:arm64 libstdc++6:arm64 \
    libc6-dev-arm64-cross >"$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log" >&2; fail "no ARM64 libraries"; }
  install qemu-aarch64-static -t bookworm-backports qemu-user-static
fi
qemu_version=$(qemu-aarch64-static --version | sed -n '1s/.*version \([0-9]*\).*/\1/p')
[ "$qemu_version" -ge 10 ] || fail "qemu-user $qemu_version crashes in ONNX Runtime: install 10 from bookworm-backports"

# 2. A standard library for the target: rustup's where it can be fetched, else Debian's own compiler with its own.
if ! rustup target list --installed 2>/dev/null | grep -qx "$target" && ! rustup target add "$target" 2>/dev/null; then
  if ! dpkg -s libstd-rust-web-dev:arm64 >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || fail "no Rust standard library for $target; as root: apt-get install rustc-web libstd-rust-web-dev:arm64"
    say "installing Debian's Rust compiler with the ARM64 standard library"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rustc-web libstd-rust-web-dev:arm64 \
      >"$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log" >&2; fail "no ARM64 standard library"; }
  fi
  export RUSTC=/usr/bin/rustc
fi

# 3. Build, and tell the size.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
say "building edge-agent for $target, as small as it gets"
cargo build --profile device --target $target --target-dir "$build" -p edge-agent
agent=$build/$target/device/edge-agent
file_bytes=$(stat -c %s "$agent")
say "edge-agent for ARM64: $file_bytes bytes stripped ($(awk "BEGIN{printf \"%.2f\", $file_bytes/1048576}") MiB)"

# 4. One inference under emulation. The agent starts its worker from its own executable, so the kernel has to hand
#    ARM64 programs to the emulator by itself.
tests/setup/setup.sh base models onnxruntime-aarch64
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt 2>/dev/null || true
if [ ! -e $binfmt/qemu-aarch64 ]; then
  [ -w $binfmt/register ] || fail "the kernel does not start ARM64 programs: register qemu-aarch64-static in binfmt_misc as root"
  echo ':qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$(command -v qemu-aarch64-static)"':OCF' >$binfmt/register
fi

package=target/models/shuttle-anomaly-1.0.0
EDGE_AGENT_ONNXRUNTIME=$PWD/target/onnxruntime/aarch64/libonnxruntime.so.1.31.1 \
  "$agent" run --model "$package" --data-dir "$work/agent" --http 127.0.0.1:0 >"$work/agent.log" 2>&1 &
agent_pid=$!
say "waiting for the model under emulation (the golden inputs run first)"
for _ in $(seq 1 240); do
  address=$(sed -n 's/.*"http": *"\([^"]*\)".*/\1/p' "$work/agent/addresses.json" 2>/dev/null || true)
  if [ -n "$address" ] && target/venv/bin/python cross/infer.py "http://$address" "$package" 2>"$work/infer.log"; then
    say "one inference on ARM64 agrees with the golden outputs"
    exit 0
  fi
  kill -0 "$agent_pid" 2>/dev/null || { cat "$work/agent.log" >&2; fail "the agent ended"; }
  sleep 1
done
cat "$work/agent.log" "$work/infer.log" >&2
fail "no answer from the agent under emulation"
