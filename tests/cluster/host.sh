#!/usr/bin/env bash
# A machine of its own, made of namespaces, with an sshd; it stays until it is killed, and everything in it goes with it.
#
#     unshare --net --uts --pid --mount --fork --kill-child host.sh NAME ADDRESS ROOT KEY PLACE=FOLDER...
#
# It sees the system's own folders, read only, and at each PLACE that FOLDER; of this machine nothing else. The first
# PLACE is the home of its user, root, who is let in by KEY. It says which process `nsenter` wants, waits for a network
# device called lan, and says `up` once ssh answers.
set -euo pipefail
read -r outer_pid _ < /proc/self/stat
name=$1 address=$2 root=$3 key=$(< "$4")
shift 4
home=${1%%=*}
hostname "$name"
echo "$outer_pid"

mount -t tmpfs tmpfs "$root"
cd "$root"
for folder in /bin /etc /lib /lib32 /lib64 /sbin /usr; do
    if [[ -L $folder ]]; then
        cp -a "$folder" ".$folder"
    elif [[ -d $folder ]]; then
        mkdir ".$folder"
        mount --rbind "$folder" ".$folder"
        mount -o remount,bind,ro ".$folder"
    fi
done
mkdir -p dev proc sys run/sshd var/empty/sshd old
mkdir -m 1777 tmp var/tmp
mkdir var/log
touch var/log/lastlog
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mount --rbind /sys sys
mount -t proc proc proc
for mapping in "$@"; do
    mkdir -p ".${mapping%%=*}"
    mount --rbind "${mapping#*=}" ".${mapping%%=*}"
done
awk -F: -v OFS=: -v home="$home" '$3 == 0 { $6 = home; $7 = "/bin/bash" } { print }' /etc/passwd > run/passwd
mount --bind run/passwd etc/passwd
pivot_root . old
umount --lazy old
rmdir old

until ip link show dev lan &> /dev/null; do sleep 0.05; done
ip link set lo up
ip address add "$address/24" dev lan
ip link set lan up
ip route add default dev lan # Ray takes the address of this device for its own, 127.0.0.1 where there is none

ssh-keygen -q -t ed25519 -N '' -f /run/host_key
echo "$key" > /run/authorized_keys
cat > /run/sshd_config <<END
ListenAddress $address
HostKey /run/host_key
AuthorizedKeysFile /run/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
END
"$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /run/sshd_config &
until (exec 3<> "/dev/tcp/$address/22") 2> /dev/null; do sleep 0.1; done
echo up
wait # and reap what Ray's daemons leave behind
