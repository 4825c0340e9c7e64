/*
 * peer_counts.h: how many connections each address has open, over all workers.
 *
 * For: limits.connections_per_address. A count-min sketch of two rows (Cormode and Muthukrishnan,
 * 2005): two addresses share a count only when they collide in both, with a probability of about
 * (open addresses / 65,536)²; the keys are hashed with a secret of the process, so that
 * nobody can aim at another's counters. IPv6 is counted by its /64, which is one customer's.
 * Threads: any; counters are atomic. Memory: 512 KiB, shared by all servers.
 * Errors: none.
 */
#pragma once

#include <stdint.h>

#include "os/sock.h"

struct peer_counts;

struct peer_counts *peer_counts_create(uint64_t secret) BB_MUST;
void peer_counts_destroy(struct peer_counts *c);
/* One more. Returns how many the address has now, this one included (never too few). */
uint32_t peer_counts_add(struct peer_counts *c, const struct sock_peer *p);
void peer_counts_remove(struct peer_counts *c, const struct sock_peer *p);
