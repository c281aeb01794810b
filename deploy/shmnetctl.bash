# shellcheck shell=bash
complete -o default -C 'shmnetctl --complete' shmnetctl
