/*
 * The other side of row D1: DPDK's hash table, in a file of its own because DPDK chooses
 * the compiler's options.
 */
#ifndef TESTS_BENCH_FLOW_BENCH_H
#define TESTS_BENCH_FLOW_BENCH_H

#include "base/flow.h"

#define FLOW_BURST 64

/* Once. `key_length`: of the keys that are compared; the first bytes of a flow's. */
bool peer_open(unsigned flows, unsigned key_length);
bool peer_add(const struct flow_key *key, uint16_t owner);

/* FLOW_BURST keys; how many were found, with the owner that they were added with. */
unsigned peer_find(const struct flow_key *const keys[FLOW_BURST], const uint16_t *owners);

/* As it runs: with which memory. */
const char *peer_memory(void);

#endif
