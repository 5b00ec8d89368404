#!/usr/bin/env bash
# A machine of its own, made of namespaces, with an sshd; it stays until it is killed, and everything in it goes with it.
#
#     unshare --net --uts --pid --mount --fork --kill-child host.sh ADDRESS WORK KEPT...
#
# Its home is WORK/home, its key WORK/key; /tmp, /run and /dev/shm are its own, but for the KEPT paths below /tmp.
# The process id that `nsenter` wants appears in WORK/pid once ssh answers.
set -euo pipefail
read -r outer_pid _ < /proc/self/stat
address=$1 work=$2
shift 2

mount -t proc proc /proc
hostname "$(basename "$work")"

# Ray takes the address of the default route for its own, 127.0.0.1 where there is none.
ip link set lo up
ip link add lan type bridge
ip address add "$address/24" dev lan
ip link set lan up
ip route add default dev lan

mkdir -p "$work/home" "$work/tmp"
awk -F: -v OFS=: -v home="$work/home" '$3 == 0 { $6 = home; $7 = "/bin/bash" } { print }' /etc/passwd > "$work/passwd"
mount --bind "$work/passwd" /etc/passwd
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs "$work/tmp"
chmod 1777 "$work/tmp"
for path in "$@"; do
    [[ $path == /tmp/* ]] || continue
    mkdir -p "$work/tmp/${path#/tmp/}"
    mount --bind "$path" "$work/tmp/${path#/tmp/}"
done
mount --move "$work/tmp" /tmp
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd

ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
cat > "$work/sshd_config" <<END
ListenAddress $address
HostKey $work/host_key
AuthorizedKeysFile $work/key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
END
"$(command -v sshd || echo /usr/sbin/sshd)" -D -E "$work/sshd.log" -f "$work/sshd_config" &
until (exec 3<> "/dev/tcp/$address/22") 2> /dev/null; do sleep 0.1; done
echo "$outer_pid" > "$work/pid.new"
mv "$work/pid.new" "$work/pid"
wait # and reap what Ray's daemons leave behind
