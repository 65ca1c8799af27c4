# Sourced by the gate: finds the PostgreSQL server of the tests, or installs the distribution's and starts it; sets
# RECOVERY_TEST_POSTGRES_URL. Fails when there is none in the end. Needs as_root and .venv of environment.sh.

answers() {
    .venv/bin/python -c 'import sys, psycopg; psycopg.connect(sys.argv[1], connect_timeout=3).close()' "$1" 2>/dev/null
}

# The first of these that lets somebody in, as it is configured; PGPASSWORD and ~/.pgpass count.
find_postgres() {
    for url in ${RECOVERY_TEST_POSTGRES_URL:+"$RECOVERY_TEST_POSTGRES_URL"} \
        postgresql://127.0.0.1:5432/test postgresql://postgres@127.0.0.1:5432/test \
        postgresql://postgres:postgres@127.0.0.1:5432/test postgresql://test:test@127.0.0.1:5432/test; do
        if answers "$url"; then
            export RECOVERY_TEST_POSTGRES_URL=$url
            return 0
        fi
    done
    return 1
}

as_postgres() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else sudo -u postgres "$@"; fi
}

# A server of its own, on a port and in a folder that nobody else uses; ends with this script.
start_postgres() {
    if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
        echo "Installing PostgreSQL, which the tests need …"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql
    fi
    find_postgres && return 0 # the distribution's package may have started one
    programs=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)")
    folder=$(mktemp -d)
    as_root chown postgres "$folder"
    trap 'as_postgres "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null; as_root rm -rf "$folder"' EXIT
    as_postgres "$programs/initdb" -D "$folder/data" -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
    port=5432
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    # What the tests write there need not outlive the machine.
    as_postgres "$programs/pg_ctl" -D "$folder/data" -l "$folder/log" -w start -o "-p $port -c fsync=off \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder" >/dev/null
    as_postgres "$programs/createdb" -h 127.0.0.1 -p "$port" test
    export RECOVERY_TEST_POSTGRES_URL=postgresql://postgres@127.0.0.1:$port/test
    answers "$RECOVERY_TEST_POSTGRES_URL"
}

if ! find_postgres && ! start_postgres; then
    echo "No PostgreSQL server: none answers as RECOVERY_TEST_POSTGRES_URL or on 127.0.0.1:5432 (database test)," \
        "and none could be installed and started." >&2
    exit 1
fi
echo "PostgreSQL: ${RECOVERY_TEST_POSTGRES_URL##*@}"
