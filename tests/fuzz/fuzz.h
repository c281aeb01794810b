/*
 * A fuzz target is one file with this function. libFuzzer calls it (meson setup
 * -Dfuzz=true, clang only: <name>-fuzz), and replay.c calls it for each file of
 * the corpus in every build (test fuzz-<name>).
 *
 * A target keeps nothing from one call to the next, and aborts on what must not be.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
