# Runs its arguments with the first Python that is new enough.
for python in python3 python3.13 python3.12 python3.11 python3.14; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" "$@"
    fi
done
echo "Python 3.11 or newer is needed. On Debian: apt-get install python3 python3-venv" >&2
exit 1
