#!/usr/bin/env python3
"""Keeps one thread of another process from running, until that process ends.

    hold_thread.py TID

Prints "ready" when the thread has stopped; the others go on. Needs CAP_SYS_PTRACE.
"""
import ctypes
import os
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WALL = 0x40000000

ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def must(request, tid):
    if ptrace(request, tid, None, None) < 0:
        sys.exit(f"thread {tid}: {os.strerror(ctypes.get_errno())}")


def main():
    tid = int(sys.argv[1])
    must(PTRACE_SEIZE, tid)
    must(PTRACE_INTERRUPT, tid)
    while True:
        _, status = os.waitpid(tid, WALL)
        if not os.WIFSTOPPED(status):
            return
        print("ready", flush=True)


main()
