/* wire_bpf: the program that takes outer super-packets, which we write to our
 * own TUN device, to the WAN link. IPv6 with next header 4 that comes in by
 * that device is marked as IPv4 in IPv6 (SKB_GSO_IPXIP6, inner headers) and
 * sent out by the link; anything else passes. Linux 5.10. Owner only. */
#ifndef UKAI_MAPE_WIRE_BPF_H
#define UKAI_MAPE_WIRE_BPF_H

#include "core/base.h"
#include "core/diag.h"

struct wire_bpf;

/* Attach it to the ingress of the link tun, whose clsact qdisc is ours. It is
 * gone when the link is. Returns 0; UK_EPERM (CAP_NET_ADMIN and CAP_BPF, or
 * CAP_SYS_ADMIN), UK_ESYS (a kernel without it), UK_ENOMEM, with a warning in
 * d. */
int wire_bpf_attach(struct wire_bpf **b, unsigned tun, unsigned wan,
    uint32_t mark, struct diag *d);
void wire_bpf_detach(struct wire_bpf *b); /* NULL: no-op */

/* Packets that the kernel would not mark; they were dropped. */
uint64_t wire_bpf_refused(const struct wire_bpf *b);

#endif
