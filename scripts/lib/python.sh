# shellcheck shell=bash
# A Python with pyzmq: the one on PATH may be a user's own, without it. Needs say.sh and packages.sh.

# python_with_zmq: prints such a Python, or nothing.
python_with_zmq() {
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import zmq' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

# need_python_with_zmq: notes Debian's pyzmq as missing if no Python has it.
need_python_with_zmq() {
  need python3-zmq "ZeroMQ for the clients and back-ends in Python" python_with_zmq
}
