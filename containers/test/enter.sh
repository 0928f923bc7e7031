# enter ROOT SCRIPT [NAME=VALUE…] (sourced): runs a script, by its path in ROOT, with that root, mounts and processes of
# its own, which end with it, and no network: as an engine would, except for cgroups.
enter() {
    root=$1
    script=$2
    shift 2
    # shellcheck disable=SC2016 # its own variables
    unshare --mount --pid --ipc --uts --net --fork --kill-child sh -euc '
        root=$1
        script=$2
        shift 2
        mount --make-rprivate /
        mkdir -p "$root/dev/shm"
        mount -t proc proc "$root/proc"
        mount -t tmpfs tmpfs "$root/dev/shm"
        # What the operator mounts, read-only (operator.sh).
        if [ -d "$root/extension-image" ]; then
            mkdir -p "$root/extensions/pg_incrbackup"
            mount --bind "$root/extension-image" "$root/extensions/pg_incrbackup"
            mount -o remount,bind,ro "$root/extensions/pg_incrbackup"
        fi
        exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@" \
            bash -eu "$script"' enter "$root" "$script" "$@"
}
